//! The supervisor's course: own the name, build the cluster, then react to the directory, the nodes and signals.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use super::{
    cluster::Cluster,
    fabric::{self, Fabric},
    leftovers,
    lock::{self, Lock},
    mesh::{self, Mesh},
    watch,
    worker::{self, Worker},
};
use crate::{
    layout::{self, Layout},
    manifests::{self, Source},
    node::{Cni, Config, Report},
};

/// How often the mesh's processes are looked after.
const TEND_EVERY: Duration = Duration::from_millis(100);

/// What a testbed is started with.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Keeps several testbeds apart
    #[arg(long, default_value = "dev")]
    pub name: String,
    /// The directory of Kubernetes YAML
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// How pods are joined to their node
    #[arg(long, value_enum, default_value_t = Cni::Ptp)]
    pub cni: Cni,
    /// Run the cluster without the mesh
    #[arg(long)]
    pub no_mesh: bool,
    /// Leave processes of the mesh that end as they are
    #[arg(long)]
    pub no_restart: bool,
    /// End when standard input does
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}

/// Why a testbed cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("the testbed needs root: it makes network namespaces, control groups and mounts")]
    NotRoot,
    /// The directory has errors.
    #[error("the directory {} cannot be used as it is:\n  {}", directory.display(), problems.join("\n  "))]
    Manifests {
        /// Which.
        directory: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// Its paths cannot be told.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The name is taken, or leftovers are in the way.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The network between nodes.
    #[error(transparent)]
    Fabric(#[from] fabric::Error),
    /// A node's process.
    #[error(transparent)]
    Worker(#[from] worker::Error),
    /// A node ended.
    #[error("node {node} ended; the end of its log:\n{tail}")]
    NodeEnded {
        /// Which.
        node: String,
        /// Its last words.
        tail: String,
    },
    /// A process of the mesh.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// The directory cannot be watched.
    #[error("cannot watch the directory: {0}")]
    Watch(#[from] notify::Error),
    /// The run directory.
    #[error("cannot write the run directory: {0}")]
    Run(#[from] io::Error),
    /// Taking it down.
    #[error(transparent)]
    Leftovers(#[from] leftovers::Error),
}

enum Event {
    SourceChanged,
    Report(String, Option<Report>),
    Shutdown(&'static str),
}

/// Takes the testbed down however its owner's function ends, a panic included.
struct TakesDown(Layout);

impl Drop for TakesDown {
    fn drop(&mut self) {
        if let Err(error) = leftovers::remove(&self.0) {
            tracing::error!(%error, "the testbed could not be taken down whole");
        }
    }
}

struct Supervisor {
    layout: Layout,
    options: Options,
    cluster: Cluster,
    fabric: Fabric,
    mesh: Option<Mesh>,
    workers: BTreeMap<String, Worker>,
    /// The nodes whose network and DNS are there.
    up: BTreeSet<String>,
    testbed_program: PathBuf,
    events: Sender<Event>,
    plan: crate::addresses::Plan,
}

/// Runs a testbed until it is told to end.
///
/// # Errors
/// If it cannot be started, or something that it cannot do without ends. It is taken down in any case.
pub fn run(options: Options) -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let layout = Layout::new(&options.name)?;
    let directory = fs::canonicalize(&options.config).map_err(|source| Error::Manifests {
        directory: options.config.clone(),
        problems: vec![manifests::Error::Read { path: options.config.clone(), source }.to_string()],
    })?;
    let (events, incoming) = mpsc::channel();
    await_signals(&events, options.until_stdin_ends)?;

    let mut source = Source::new(&directory);
    let (manifests, errors) = source.read();
    if !errors.is_empty() {
        return Err(Error::Manifests {
            directory,
            problems: errors.iter().map(ToString::to_string).collect(),
        });
    }
    for kind in &manifests.passed_over {
        tracing::info!(kind, "the testbed itself does nothing about this kind");
    }
    let lock = Lock::acquire(&layout)?;
    let takes_down = TakesDown(layout.clone());
    make_run_directory(&layout, &directory)?;
    let changed = events.clone();
    let _watcher = watch::watch(&directory, move || drop(changed.send(Event::SourceChanged)))?;

    let testbed_program = std::env::current_exe()?;
    let programs = testbed_program.parent().unwrap_or(Path::new("/")).to_owned();
    let plan = lock.plan;
    let fabric = Fabric::create(layout.fabric_netns(), plan)?;
    let mesh = if options.no_mesh {
        None
    } else {
        mount_bpffs()?;
        let (address, restart) = (plan.beyond().v4.into(), !options.no_restart);
        Some(Mesh::start(&layout, address, &testbed_program, &programs, &directory, restart)?)
    };
    let mut supervisor = Supervisor {
        cluster: Cluster::new(&layout, plan),
        fabric,
        layout,
        options,
        mesh,
        workers: BTreeMap::new(),
        up: BTreeSet::new(),
        testbed_program,
        events,
        plan,
    };
    let reason = supervisor.live(&mut source, manifests, &incoming)?;
    tracing::info!(reason, "taking the testbed down");
    drop(supervisor);
    drop(takes_down);
    Ok(())
}

impl Supervisor {
    fn live(
        &mut self,
        source: &mut Source,
        manifests: manifests::Manifests,
        incoming: &Receiver<Event>,
    ) -> Result<&'static str, Error> {
        self.apply(manifests)?;
        loop {
            let mut reload = false;
            let mut wishes_changed = false;
            match incoming.recv_timeout(TEND_EVERY) {
                Ok(Event::Shutdown(reason)) => return Ok(reason),
                Ok(Event::SourceChanged) => reload = true,
                Ok(Event::Report(node, report)) => wishes_changed = self.take(node, report)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok("nobody is left to listen to"),
            }
            if reload {
                thread::sleep(watch::SETTLE);
            }
            // Many pods change at once: one wish is enough for all.
            for event in incoming.try_iter() {
                match event {
                    Event::Shutdown(reason) => return Ok(reason),
                    Event::SourceChanged => reload = true,
                    Event::Report(node, report) => wishes_changed |= self.take(node, report)?,
                }
            }
            if reload {
                let (manifests, errors) = source.read();
                for error in errors {
                    tracing::error!("{error}");
                }
                self.apply(manifests)?;
            } else if wishes_changed {
                self.wish()?;
            }
            if reload || wishes_changed {
                self.remove_nodes()?;
            }
            self.mesh.as_mut().map(Mesh::tend).transpose()?;
        }
    }

    fn take(&mut self, node: String, report: Option<Report>) -> Result<bool, Error> {
        if !self.workers.contains_key(&node) {
            // The last words of one that was removed.
            return Ok(false);
        }
        let Some(report) = report else {
            let log = self.layout.log(&format!("node.{node}"));
            return Err(Error::NodeEnded { node, tail: fs::read_to_string(log).unwrap_or_default() });
        };
        if matches!(report, Report::Up) {
            self.up.insert(node);
            if self.up.len() == self.workers.len() {
                fs::write(self.layout.ready(), "")?;
            }
        }
        Ok(self.cluster.take(report))
    }

    fn apply(&mut self, manifests: manifests::Manifests) -> Result<(), Error> {
        for (name, number) in self.cluster.want(manifests)? {
            self.add_node(name, number)?;
        }
        if let Some(mesh) = &mut self.mesh {
            mesh.wait_ready()?;
        }
        self.wish()
    }

    /// Lets each node know what is wanted of it.
    fn wish(&mut self) -> Result<(), Error> {
        for (node, desired) in self.cluster.desired() {
            if let Some(worker) = self.workers.get_mut(&node) {
                worker.wish(&desired)?;
            }
        }
        Ok(())
    }

    fn add_node(&mut self, name: String, number: u8) -> Result<(), Error> {
        let node = self.layout.node(&name);
        fs::create_dir_all(&node.run)?;
        self.fabric.add_node(number, node.netns_name.clone())?;
        fs::write(node.run.join("netns"), format!("{}\n", node.netns().display()))?;
        let config = Config {
            testbed: self.options.name.clone(),
            node: name.clone(),
            cni: self.options.cni,
            addresses: self.plan.node(number),
            gateway: self.plan.gateway(number),
            dns: self.cluster.dns_addresses(),
            programs: self.testbed_program.parent().unwrap_or(Path::new("/")).to_owned(),
            testbed_program: self.testbed_program.clone(),
        };
        let (events, from) = (self.events.clone(), name.clone());
        // The supervisor is gone when nobody takes the report.
        let worker = Worker::start(&self.layout, &node, &config, move |report| {
            drop(events.send(Event::Report(from.clone(), report)));
        })?;
        self.workers.insert(name, worker);
        if let Some(mesh) = self.mesh.as_mut().filter(|_| self.cluster.has_agent(&node.name)) {
            mesh.add_node(&node)?;
        }
        Ok(())
    }
}

impl Supervisor {
    /// Takes the nodes down that left the cluster.
    fn remove_nodes(&mut self) -> Result<(), Error> {
        for (name, number) in self.cluster.departed()? {
            tracing::info!(node = name, "the node left the cluster");
            let node = self.layout.node(&name);
            self.up.remove(&name);
            let worker = self.workers.remove(&name);
            if let Some(mesh) = &mut self.mesh {
                mesh.remove_node(&name)?;
            }
            leftovers::remove_node(&node)?;
            worker.map(Worker::reap).transpose()?;
            self.fabric.remove_node(number)?;
        }
        Ok(())
    }
}

fn make_run_directory(layout: &Layout, source: &Path) -> Result<(), Error> {
    let run = layout.run();
    for folder in ["kubelet/pods", "kubelet/services", "kubelet/nodes", "status", "logs", "hold", "nodes"] {
        fs::create_dir_all(run.join(folder))?;
    }
    for private in ["kubelet", "status", "logs", "hold"] {
        fs::set_permissions(run.join(private), fs::Permissions::from_mode(0o700))?;
    }
    fs::write(run.join("source"), format!("{}\n", source.display()))?;
    Ok(())
}

/// Mounts the BPF file system where everybody expects it, if nobody has.
fn mount_bpffs() -> Result<(), Error> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if !mounts.lines().any(|line| line.contains(" /sys/fs/bpf ") && line.contains(" - bpf ")) {
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), flags, Some("mode=0700"))
            .map_err(io::Error::from)?;
    }
    Ok(())
}

/// Turns signals, and the end of standard input if asked for, into events. Must come before any thread is started:
/// threads inherit what is blocked.
fn await_signals(events: &Sender<Event>, until_stdin_ends: bool) -> Result<(), Error> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(io::Error::from)?;
    let sender = events.clone();
    thread::spawn(move || {
        if signals.wait().is_ok() {
            // Ended already if nobody takes it.
            drop(sender.send(Event::Shutdown("a signal came")));
        }
    });
    if until_stdin_ends {
        let sender = events.clone();
        thread::spawn(move || {
            // Whatever comes: only the end counts.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            drop(sender.send(Event::Shutdown("the process that started it ended")));
        });
    }
    Ok(())
}
