//! The cluster that the claims are tried on, and the few things that every claim does with it.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use super::{
    Error,
    access_log::Mark,
    bed::{Bed, OnCluster, OnTestbed, Pod, wait_for},
    call::Call,
    kernel_objects,
    manifests::Manifests,
    scrape::Scrape,
};
use crate::testbed::{self, Part};

/// The node of most pods, and of all claims that need only one.
pub(super) const NODE: &str = "node-1";

/// The other one.
pub(super) const OTHER_NODE: &str = "node-2";

/// Both.
pub(super) const NODES: [&str; 2] = [NODE, OTHER_NODE];

/// How long the cluster may take to be there, and the mesh to come back.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the certificate of a workload is valid in the testbed: the shortest there is. It is renewed after about half
/// of that.
const WORKLOAD_TTL: &str = "30s";

/// The same on a cluster, where a controller that was killed is followed by another after 18 seconds at most.
const WORKLOAD_TTL_ON_CLUSTER: &str = "90s";

/// A pod of the demo, by namespace and name.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodName(pub(super) &'static str, pub(super) &'static str);

/// Enrolled: the one who may open the vault.
pub(super) const TELLER: PodName = PodName("bank", "teller");
/// Enrolled, of another namespace.
pub(super) const CLERK: PodName = PodName("shop", "clerk");
/// Enrolled, on the other node.
pub(super) const AUDITOR: PodName = PodName("bank", "auditor");
/// Not enrolled.
pub(super) const MAINFRAME: PodName = PodName("legacy", "mainframe");

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

/// Both address families, as `mesh-echo` options and for people.
pub(super) const FAMILIES: [(&str, &str); 2] = [("-4", "IPv4"), ("-6", "IPv6")];

/// The running cluster.
#[derive(Debug)]
pub(super) struct Stage {
    /// What it runs on.
    pub(super) bed: Box<dyn Bed>,
    /// What the agent held and had counted when it was killed, until it is back.
    pub(super) before_kill: RefCell<Option<BeforeKill>>,
    /// How long the certificate of a workload is valid.
    pub(super) workload_ttl: &'static str,
    manifests: Manifests,
    took: Duration,
}

/// What is to be found again once the agent is back.
#[derive(Debug)]
pub(super) struct BeforeKill {
    /// Kernel objects that wire held.
    pub(super) held: kernel_objects::Held,
    /// Refusals counted.
    pub(super) denied: f64,
}

impl Stage {
    /// Brings the services of `config` up with the mesh, on the cluster of the workspace with this `target` directory
    /// if one is given, and waits until both are there. Certificates live so shortly that they are renewed while the
    /// demo runs.
    pub(super) fn set_up(config: &Path, cluster: Option<&Path>) -> Result<Self, Error> {
        let start = Instant::now();
        let manifests = Manifests::read(config)?;
        let workload_ttl = if cluster.is_some() { WORKLOAD_TTL_ON_CLUSTER } else { WORKLOAD_TTL };
        let short = manifests.with_short_lives(workload_ttl)?;
        let bed: Box<dyn Bed> = match cluster {
            Some(target) => {
                let bed = OnCluster::start(target, manifests.text())?;
                bed.apply(&short)?;
                Box::new(bed)
            }
            None => Box::new(OnTestbed::start(config, short)?),
        };
        let before_kill = RefCell::new(None);
        let mut stage = Self { bed, before_kill, workload_ttl, manifests, took: Duration::ZERO };
        stage.wait_back()?;
        stage.took = start.elapsed();
        Ok(stage)
    }

    /// The cluster in a few lines.
    pub(super) fn described(&self) -> Result<String, Error> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let (kernel, bed, took) = (kernel.trim(), self.bed.described(), self.took.as_secs_f64());
        let mut text = format!("kernel {kernel}; {bed}; up in {took:.1} s\n");
        for pod in self.bed.pods()? {
            let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
            let state = self.bed.mesh_state(&pod)?.unwrap_or_else(|| "unknown".to_owned());
            let name = format!("{}/{}", pod.namespace, pod.name);
            text.push_str(&format!("  {} {name:<18} {state:<6} {}\n", pod.node, addresses.join(" ")));
        }
        Ok(text.trim_end().to_owned())
    }

    /// A pod as it is now.
    pub(super) fn pod(&self, wanted: PodName) -> Result<Pod, Error> {
        self.find_pod(wanted.0, wanted.1)
    }

    /// A pod as it is now, by namespace and name.
    pub(super) fn find_pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        let pods = self.bed.pods()?;
        let others = pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        let found = pods.into_iter().find(|pod| pod.namespace == namespace && pod.name == name);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        found.ok_or_else(|| testbed::Error::NoPod { namespace, name, others }.into())
    }

    /// An object of the demo as it was applied.
    pub(super) fn manifest(&self, kind: &str, namespace: &str, name: &str) -> Result<String, Error> {
        self.manifests.object(kind, namespace, name)
    }

    /// One TCP call from a pod, which asks the server whom it sees.
    pub(super) fn call(&self, from: PodName, to: &str, family: &str) -> Result<Call, Error> {
        Call::read(&self.run(from, &["mesh-echo", "client", family, "tcp", to])?)
    }

    /// Runs a command in a pod to its end.
    pub(super) fn run(&self, pod: PodName, argv: &[&str]) -> Result<Output, Error> {
        self.bed.command(pod.0, pod.1, argv)?.output().map_err(Error::io(format!("run {} in {pod}", argv[0])))
    }

    /// Starts a command in a pod, with pipes for its input and output.
    pub(super) fn spawn(&self, pod: PodName, argv: &[&str]) -> Result<Child, Error> {
        let mut command = self.bed.command(pod.0, pod.1, argv)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(Error::io(format!("run {} in {pod}", argv[0])))
    }

    /// Opens a connection from a pod that stays open, and exchanges a byte every few milliseconds.
    pub(super) fn hold(&self, from: PodName, to: &str, family: &str) -> Result<Held, Error> {
        let argv = ["mesh-echo", "hold", family, "--interval=5", "--duration=60000", to];
        let mut child = self.spawn(from, &argv)?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Error::io("read from mesh-echo")(std::io::ErrorKind::BrokenPipe.into()))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).map_err(Error::io("read from mesh-echo"))?;
        let sockets = line.trim().strip_prefix("holding ").and_then(|rest| rest.split_once(" -> "));
        let parsed = sockets.and_then(|(client, server)| Some((client.parse().ok()?, server.parse().ok()?)));
        match parsed {
            Some((client, dialled)) => Ok(Held { child, output, client, dialled }),
            None => Err(Error::Unexpected { program: format!("mesh-echo hold {to} in {from}"), said: line }),
        }
    }

    /// The cluster address of a Service that the family has.
    pub(super) fn vip(&self, namespace: &str, service: &str, family: &str) -> Result<IpAddr, Error> {
        let addresses = self.bed.service_addresses(namespace, service)?;
        let found = addresses.iter().copied().find(|address| address.is_ipv4() == (family == "-4"));
        found.ok_or_else(|| Error::Unexpected {
            program: format!("Service {namespace}/{service}"),
            said: format!("{addresses:?}"),
        })
    }

    /// The metrics of the node of most pods, now.
    pub(super) fn scrape(&self) -> Result<Scrape, Error> {
        self.scrape_of(NODE)
    }

    /// The metrics of a node, now.
    pub(super) fn scrape_of(&self, node: &str) -> Result<Scrape, Error> {
        Ok(Scrape(self.bed.metrics(node)?))
    }

    /// Scrapes until `wanted` holds: the kernel's counts reach the relay once a second.
    pub(super) fn scrape_until(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Result<Scrape, Error> {
        wait_for(what, PATIENCE, || {
            let scrape = self.scrape().map_err(|error| error.to_string())?;
            if wanted(&scrape) { Ok(scrape) } else { Err(String::new()) }
        })
    }

    /// The end of the access log of the node of most pods.
    pub(super) fn log_mark(&self) -> Result<Mark, Error> {
        self.log_mark_of(NODE)
    }

    /// The end of a node's access log now.
    pub(super) fn log_mark_of(&self, node: &str) -> Result<Mark, Error> {
        Ok(Mark::now(self.bed.access_log(node)?))
    }

    /// Asks `meshctl`; gives what it printed as JSON and its exit code.
    pub(super) fn meshctl(&self, arguments: &[&str]) -> Result<(Value, Option<i32>), Error> {
        let mut command = self.bed.meshctl()?;
        command.args(["-o", "json"]).args(arguments);
        let output = command.output().map_err(Error::io("run meshctl"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text).map_err(|source| Error::Json {
            what: format!(
                "the output of `meshctl {}`: {text}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ),
            source,
        })?;
        Ok((value, output.status.code()))
    }

    /// Sends a signal to one half of a node's agent. One that ends is started again, unless it is held back.
    pub(super) fn signal_agent(&self, node: &str, part: Part, signal: Signal) -> Result<(), Error> {
        let pid = self.bed.agent(node, part)?;
        kill(pid, signal).map_err(|errno| Error::io(format!("signal {pid}"))(errno.into()))
    }

    /// Waits until a pod is ready and the mesh has wired it.
    pub(super) fn wait_wired(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        self.wait_state(namespace, name, "Wired")
    }

    /// Waits until a pod is gone.
    pub(super) fn wait_gone(&self, namespace: &str, name: &str) -> Result<(), Error> {
        wait_for(&format!("pod {namespace}/{name} to be gone"), PATIENCE, || {
            match self.find_pod(namespace, name) {
                Err(Error::Testbed(testbed::Error::NoPod { .. })) => Ok(()),
                Ok(_) => Err(String::new()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Waits until both halves run again and the relay says that every pod of before is as it was.
    pub(super) fn wait_back(&self) -> Result<(), Error> {
        for pod in self.bed.pods()? {
            let state = if pod.namespace == MAINFRAME.0 { "Plain" } else { "Wired" };
            self.wait_state(&pod.namespace, &pod.name, state)?;
        }
        Ok(())
    }

    fn wait_state(&self, namespace: &str, name: &str, wanted: &str) -> Result<Pod, Error> {
        wait_for(&format!("pod {namespace}/{name} to be ready and {wanted}"), PATIENCE, || {
            let pod = self.find_pod(namespace, name).map_err(|error| error.to_string())?;
            let seen = self.bed.mesh_state(&pod).map_err(|error| error.to_string())?;
            let is_there = seen.as_deref().is_some_and(|seen| seen.eq_ignore_ascii_case(wanted));
            if is_there && pod.ready { Ok(pod) } else { Err(format!("{seen:?}, ready: {}", pod.ready)) }
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bed.end();
    }
}

/// An open connection of a `mesh-echo hold` in a pod; ended when dropped.
#[derive(Debug)]
pub(super) struct Held {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// The client's own address.
    pub(super) client: SocketAddr,
    /// Whom the client believes to talk to.
    pub(super) dialled: SocketAddr,
}

impl Held {
    /// Waits until the connection ends by itself; gives when that was seen, and the client's last words.
    pub(super) fn wait_end(&mut self, patience: Duration) -> Result<(Instant, String), Error> {
        let child = &mut self.child;
        let ended = wait_for("an open connection to be closed", patience, || match child.try_wait() {
            Ok(None) => Err("it is still open".to_owned()),
            _ => Ok(Instant::now()),
        })?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(Error::io("read from mesh-echo"))?;
        Ok((ended, line.trim().to_owned()))
    }

    /// Whether it is open still.
    pub(super) fn is_open(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
