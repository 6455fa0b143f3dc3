//! Every kind of bad peer at once, for a long time, against one pod's tunnel: what it leaves behind in relay, and what
//! a well-behaved peer feels of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use mesh_tests::{
    hbone::{Authority, Leaf, Variant},
    node::Cni,
    testbed::Part,
};

use crate::{
    arms::{Arm, NAMESPACE, SERVER_NODE},
    goal::Goal,
    machine::Machine,
    process,
    setting::Setting,
    statistics,
    traffic::Quantity,
};

const TUNNEL_PORT: u16 = 15_008;
const ABUSER: (&str, &str) = ("outside", "abuser");
const OTHER: (&str, &str) = ("outside", "other");

/// What relay may hold more afterwards.
const AT_MOST_MEGABYTES: f64 = 2.0;

/// The well-behaved peer's p99 meanwhile, against that before.
const AT_MOST_RATIO: f64 = 2.0;

/// One measurement of the well-behaved peer, and how many there are before.
const WINDOW: Duration = Duration::from_secs(3);
const WINDOWS_BEFORE: usize = 10;

/// Relay's own time limits have passed, and what it kept for their sake is gone.
const SETTLE: Duration = Duration::from_secs(20);

/// Options of `mesh-bench abuse`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The two pods, and the abuser
    #[arg(long, value_name = "DIR", required = true)]
    config: Vec<PathBuf>,
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Connections at a time of each kind
    #[arg(long, default_value_t = 2)]
    connections: usize,
}

/// Lets all of them loose, and prints what came of it.
///
/// # Errors
/// If the pods do not come up, somebody cannot be started, or relay ended.
pub fn run(args: &Args) -> Result<()> {
    println!("{}", Machine::here());
    let directories: Vec<&Path> = args.config.iter().map(PathBuf::as_path).collect();
    let arm = Arm::start(&directories, Cni::Ptp, true)?;
    let certificates = tempfile::tempdir().context("cannot make a folder for certificates")?;
    let abusers = Abusers::new(&arm, certificates.path())?;
    let relay = arm.testbed().agent(SERVER_NODE, Part::Relay)?;

    let before = measure(&arm, |windows, _| windows < WINDOWS_BEFORE)?;
    if arm.connections_seen(Setting::TwoNodes)? == 0 {
        bail!("the well-behaved peer did not go through the tunnel");
    }
    let resident_before = process::resident(relay)?;
    let time = Duration::from_secs(args.minutes * 60);
    println!(
        "{} kinds of bad peers, {} connections each, {} minutes; their processes yield to all others, as if they \
         were on machines of their own",
        Variant::value_variants().len(),
        args.connections,
        args.minutes
    );
    let loose = abusers.let_loose(args.connections, time)?;
    let meanwhile = measure(&arm, |_, since| since + WINDOW < time)?;
    let resident_meanwhile = process::resident(relay)?;
    for said in loose.into_iter().map(Abuser::end) {
        println!("  {}", said?);
    }
    thread::sleep(SETTLE);
    let resident_after = process::resident(relay).context("relay of the abused node is gone")?;
    // It serves as before.
    let after = arm.measure(Quantity::Tail, WINDOW)?;

    println!(
        "relay's RSS: {resident_before} before, {resident_meanwhile} at the end of it, {resident_after} {} s later",
        SETTLE.as_secs()
    );
    let grown = resident_after.all.megabytes() - resident_before.all.megabytes();
    println!("grown by: {}", Goal { measured: grown, at_most: AT_MOST_MEGABYTES, unit: " MB" });
    let middle = |values: &[f64]| statistics::median(values).context("nothing was measured");
    let (before, worst) = (middle(&before)?, meanwhile.iter().copied().fold(0.0, f64::max));
    let beside = middle(&meanwhile)?;
    println!(
        "request/response p99 of a well-behaved peer: {before:.0} us before; meanwhile {beside:.0} us (median of {} \
         windows of {} s, the worst {worst:.0} us); {after:.0} us after",
        meanwhile.len(),
        WINDOW.as_secs()
    );
    println!("ratio: {}", Goal { measured: beside / before, at_most: AT_MOST_RATIO, unit: "" });
    Ok(())
}

/// The well-behaved peer's p99, window after window, while `more` of how many there are and how long it took.
fn measure(arm: &Arm, more: impl Fn(usize, Duration) -> bool) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut windows = Vec::new();
    while more(windows.len(), start.elapsed()) {
        windows.push(arm.measure(Quantity::Tail, WINDOW)?);
    }
    Ok(windows)
}

/// What every bad peer is told.
struct Abusers<'a> {
    arm: &'a Arm,
    to: SocketAddr,
    other: SocketAddr,
    files: [String; 3],
}

impl<'a> Abusers<'a> {
    /// Gives them a certificate of the mesh's own authority: without one, most would not come far.
    fn new(arm: &'a Arm, folder: &Path) -> Result<Self> {
        let authority = Authority::open(&arm.testbed().layout().ca())?;
        let name = format!("spiffe://cluster.local/ns/{}/sa/{}", ABUSER.0, ABUSER.1);
        authority.issue(folder, "abuser", &Leaf { names: &[&name], ..Leaf::default() })?;
        let file = |extension: &str| folder.join(format!("abuser.{extension}")).display().to_string();
        let other = arm.testbed().pod(OTHER.0, OTHER.1)?.ip4.context("the other pod has no IPv4 address")?;
        Ok(Self {
            arm,
            to: SocketAddr::new(arm.server().ip(), TUNNEL_PORT),
            other: SocketAddr::new(other.into(), arm.server().port()),
            files: ["crt", "key", "ca"].map(file),
        })
    }

    /// Starts one of each kind.
    fn let_loose(&self, connections: usize, time: Duration) -> Result<Vec<Abuser>> {
        Variant::value_variants().iter().map(|variant| self.start(*variant, connections, time)).collect()
    }

    fn start(&self, variant: Variant, connections: usize, time: Duration) -> Result<Abuser> {
        let name = variant.to_possible_value().context("a kind without a name")?.get_name().to_owned();
        let [cert, key, roots] = &self.files;
        let (to, other, authority) =
            (self.to.to_string(), self.other.to_string(), self.arm.server().to_string());
        let (seconds, connections) = (time.as_secs().to_string(), connections.to_string());
        let argv = [
            "nice",
            "--adjustment=19",
            "mesh-hbone",
            "abuse",
            &to,
            "--variant",
            &name,
            "--seconds",
            &seconds,
            "--connections",
            &connections,
            "--authority",
            &authority,
            "--other",
            &other,
            "--cert",
            cert,
            "--key",
            key,
            "--roots",
            roots,
        ];
        let mut command = self.arm.testbed().command(ABUSER.0, ABUSER.1, None, &argv)?;
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(
                || format!("cannot run mesh-hbone in {}/{} beside {NAMESPACE}", ABUSER.0, ABUSER.1),
            )?;
        Ok(Abuser { name, child: Some(child) })
    }
}

/// A bad peer; killed when dropped.
struct Abuser {
    name: String,
    child: Option<Child>,
}

impl Abuser {
    /// Waits for its end; what it got.
    fn end(mut self) -> Result<String> {
        let child = self.child.take().context("it has ended already")?;
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {}", self.name))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            bail!("{} failed: {}", self.name, text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }
}

impl Drop for Abuser {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
