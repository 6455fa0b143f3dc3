//! The first process of a machine: makes it what it should be, runs its daemons, and buries whoever has lost their
//! parent.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::{Pid, sethostname},
};
use serde::{Deserialize, Serialize};

use super::{Daemon, Machine, OURSELVES, PROGRAMS, hierarchies, root};
use crate::{
    cgroup,
    cluster::{Error, error::io},
    launch::Launch,
    layout, tool,
};

/// How long a daemon that ended rests.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked what ended and what may start.
const STEP: Duration = Duration::from_millis(50);

/// How a daemon ended, as its machine wrote down beside its log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::cluster) struct Endings {
    /// How often.
    pub(in crate::cluster) count: u32,
    /// The last time.
    pub(in crate::cluster) last: String,
}

impl Endings {
    /// Those of the daemon with this log.
    pub(in crate::cluster) fn read(log: &Path) -> Self {
        fs::read(file(log)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

fn file(log: &Path) -> PathBuf {
    log.with_extension("ended")
}

/// A daemon and what is known of it.
struct Watched {
    daemon: Daemon,
    endings: Endings,
    process: Option<Pid>,
    not_before: Instant,
}

/// Runs the machine that `specification` describes for as long as it lives.
pub(in crate::cluster) fn run(specification: &Path) -> Result<(), Error> {
    let machine = Machine::read(specification)?;
    root::enter(&machine)?;
    sethostname(&machine.name).map_err(io("name", Path::new("this machine")))?;
    network()?;
    let system = system_cgroup()?;
    let mut daemons: Vec<_> = machine.daemons.into_iter().map(Watched::new).collect();
    loop {
        for watched in &mut daemons {
            if let Err(error) = watched.start_if_due(&system) {
                // The others can still run, and this one may the next time.
                eprintln!("{}: {error}", watched.daemon.name);
                watched.not_before = Instant::now() + PAUSE;
            }
        }
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) => {
                if let Some(watched) = daemons.iter_mut().find(|watched| watched.process == Some(pid)) {
                    watched.ended(status);
                }
            }
            _ => thread::sleep(STEP),
        }
    }
}

impl Watched {
    fn new(daemon: Daemon) -> Self {
        Self { daemon, endings: Endings::default(), process: None, not_before: Instant::now() }
    }

    fn log(&self) -> PathBuf {
        Path::new("/var/log/kubernetes").join(format!("{}.log", self.daemon.name))
    }

    fn start_if_due(&mut self, system: &Path) -> Result<(), Error> {
        let waits = self.daemon.after.as_ref().is_some_and(|path| !path.exists());
        if self.process.is_some() || waits || Instant::now() < self.not_before {
            return Ok(());
        }
        let group = system.join(&self.daemon.name);
        cgroup::create(&group)?;
        let path = format!("{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin");
        let environment = [("PATH", path.as_str()), ("HOME", "/root")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let launch = Launch {
            cgroup: Some(group),
            environment: Some(BTreeMap::from(environment)),
            directory: Some("/".into()),
            new_session: true,
            argv: self.daemon.argv.clone(),
            ..Launch::default()
        };
        let log = self.log();
        let output = File::options().create(true).append(true).open(&log).map_err(io("write", &log))?;
        let errors = output.try_clone().map_err(io("write", &log))?;
        let mut command = launch.command(Path::new(OURSELVES));
        let child = command.stdout(output).stderr(errors).spawn().map_err(io("run", Path::new(OURSELVES)))?;
        self.process = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Ok(())
    }

    fn ended(&mut self, status: WaitStatus) {
        self.process = None;
        self.not_before = Instant::now() + PAUSE;
        self.endings.count += 1;
        self.endings.last = match status {
            WaitStatus::Exited(_, code) => format!("exit status {code}"),
            WaitStatus::Signaled(_, signal, _) => signal.to_string(),
            other => format!("{other:?}"),
        };
        println!("{} ended: {}; started again", self.daemon.name, self.endings.last);
        if let Ok(text) = serde_json::to_vec(&self.endings) {
            let _ = fs::write(file(&self.log()), text);
        }
    }
}

/// What a machine that forwards needs, and what saves a second on every address.
fn network() -> Result<(), Error> {
    let settings = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
    ];
    for (setting, value) in settings {
        let path = Path::new("/proc/sys").join(setting);
        fs::write(&path, value).map_err(io("write", &path))?;
    }
    Ok(tool::ip(None, &["link set lo up".to_owned()])?)
}

/// The control group above all daemons. Nothing may stay in the root of cgroup2, or its controllers could not be
/// passed down to pods.
fn system_cgroup() -> Result<PathBuf, Error> {
    let root = layout::cgroup2()?;
    let ours = root.join("init");
    cgroup::create(&ours)?;
    cgroup::join(&ours)?;
    hierarchies::pass_down(&root);
    Ok(root.join("system"))
}
