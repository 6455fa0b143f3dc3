//! The mesh's own processes: the controller, and on every node the agent's two halves. One that ends is started again,
//! unless somebody holds it back.

use std::{
    fs::{self, OpenOptions},
    io,
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    cgroup,
    launch::{Launch, User},
    layout::{Layout, NodeLayout},
    testbed::http,
};

/// The user that the relay runs as.
pub(crate) const RELAY_UID: u32 = 64_321;

/// Where the controller serves discovery and certificates, in the network that joins the nodes.
const CONTROL_PORT: u16 = 15_012;

/// How long the relay lets open tunnels end by themselves when it is told to end.
const DRAIN: &str = "2s";

/// Pause before a process that ended is started again.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// How long a process may take until its socket is there.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A process of the mesh does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its program was not built.
    #[error("{} is not there; build it first: cargo build --workspace", .0.display())]
    NotBuilt(PathBuf),
    /// It does not come up.
    #[error("{name} did not open {} within {} s; the end of its log {}:\n{tail}", socket.display(), START_TIMEOUT.as_secs(), log.display())]
    NotReady {
        /// Which.
        name: String,
        /// What it should have opened.
        socket: PathBuf,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A file, folder or process could not be made.
    #[error("cannot run {name}: {source}")]
    Io {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Its control group could not be made.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
}

/// A supervised process.
#[derive(Debug)]
struct Process {
    name: String,
    launch: Launch,
    socket: PathBuf,
    child: Option<Child>,
    start_at: Instant,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Mesh {
    layout: Layout,
    programs: PathBuf,
    testbed_program: PathBuf,
    restart: bool,
    control: SocketAddr,
    processes: Vec<Process>,
}

impl Mesh {
    /// Starts the controller, which is reached at this address of the fabric.
    pub(super) fn start(
        layout: &Layout,
        address: IpAddr,
        testbed_program: &Path,
        programs: &Path,
        source: &Path,
        restart: bool,
    ) -> Result<Self, Error> {
        let mut mesh = Self {
            layout: layout.clone(),
            programs: programs.to_owned(),
            testbed_program: testbed_program.to_owned(),
            restart,
            control: SocketAddr::new(address, CONTROL_PORT),
            processes: Vec::new(),
        };
        let run = layout.run();
        let argv = [
            mesh.program("mesh-control")?,
            format!("--source=dir:{}", source.display()),
            format!("--run-dir={}", run.display()),
            format!("--listen={}", mesh.control),
            format!("--agent-uid={RELAY_UID}"),
        ];
        // No node can be called that.
        let launch = Launch {
            cgroup: Some(layout.cgroup().join(".mesh-control")),
            network: Some(layout.fabric()),
            ..mesh.launch(argv.to_vec())
        };
        mesh.add("mesh-control".to_owned(), launch, run.join("control.sock"))?;
        Ok(mesh)
    }

    /// Starts the agent of a node.
    pub(super) fn add_node(&mut self, node: &NodeLayout) -> Result<(), Error> {
        let failed = |name: &str| {
            let name = name.to_owned();
            move |source| Error::Io { name, source }
        };
        fs::create_dir_all(self.layout.pins()).map_err(failed("mesh-agent wire"))?;
        let program = self.program("mesh-agent")?;
        let common = |part: &str| {
            vec![
                program.clone(),
                part.to_owned(),
                format!("--node={}", node.name),
                format!("--run-dir={}", node.run.display()),
            ]
        };

        let mut argv = common("wire");
        argv.push(format!("--pin-root={}", node.pins.display()));
        argv.push(format!("--cgroup-root={}", node.cgroup.display()));
        argv.push(format!("--relay-uid={RELAY_UID}"));
        let wire =
            Launch { cgroup: Some(node.agent_cgroup()), network: Some(node.netns()), ..self.launch(argv) };
        self.add(format!("mesh-agent-wire.{}", node.name), wire, node.run.join("wire.sock"))?;

        let mut argv = common("relay");
        argv.push(format!("--control=tcp:{}", self.control));
        argv.push(format!("--join={}", self.layout.join_file(&node.name).display()));
        argv.push("--metrics=[::]:15020".to_owned());
        argv.push(format!("--drain={DRAIN}"));
        let relay = Launch {
            cgroup: Some(node.agent_cgroup()),
            network: Some(node.netns()),
            user: Some(User { uid: RELAY_UID, gid: RELAY_UID, no_new_privileges: true }),
            ..self.launch(argv)
        };
        self.add(format!("mesh-agent-relay.{}", node.name), relay, node.admin_socket())
    }

    /// Ends the agent of a node and lets go of it. What it holds open ends with the node's network.
    pub(super) fn remove_node(&mut self, node: &str) -> Result<(), Error> {
        let names = [format!("mesh-agent-wire.{node}"), format!("mesh-agent-relay.{node}")];
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.processes.drain(..).partition(|process| names.contains(&process.name));
        self.processes = kept;
        for mut process in gone {
            if let Some(child) = &mut process.child {
                let ended = child.kill().and_then(|()| child.wait());
                ended.map_err(|source| Error::Io { name: process.name.clone(), source })?;
            }
        }
        Ok(())
    }

    /// Waits until every process has opened its socket.
    pub(super) fn wait_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        while let Some(missing) = self.processes.iter().find(|process| !process.socket.exists()) {
            if Instant::now() > deadline {
                let log = self.layout.log(&missing.name);
                let text = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().rev().take(15).collect();
                let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(Error::NotReady {
                    name: missing.name.clone(),
                    socket: missing.socket.clone(),
                    log,
                    tail,
                });
            }
            self.tend()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        // A pod that is made before wire has heard of it passes as unknown and counts as late.
        while !self.relays().all(|relay| is_ready(&relay.socket)) {
            if Instant::now() > deadline {
                tracing::warn!("a relay is not ready; pods are made without waiting longer");
                break;
            }
            self.tend()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn relays(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.name.starts_with("mesh-agent-relay."))
    }

    /// Takes note of processes that ended and starts them again when it is time.
    pub(super) fn tend(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            if let Some(child) = &mut process.child {
                let ended =
                    child.try_wait().map_err(|source| Error::Io { name: process.name.clone(), source })?;
                let Some(status) = ended else { continue };
                tracing::warn!(process = process.name, %status, "a process of the mesh ended");
                process.child = None;
                process.start_at = Instant::now() + RESTART_AFTER;
            }
            let held = !self.restart || self.layout.hold(&process.name).exists();
            if !held && process.start_at <= Instant::now() {
                process.spawn(&self.layout, &self.testbed_program)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, launch: Launch, socket: PathBuf) -> Result<(), Error> {
        launch.cgroup.as_deref().map(cgroup::create).transpose()?;
        let mut process = Process { name, launch, socket, child: None, start_at: Instant::now() };
        process.spawn(&self.layout, &self.testbed_program)?;
        self.processes.push(process);
        Ok(())
    }

    fn launch(&self, argv: Vec<String>) -> Launch {
        Launch { argv, directory: Some("/".into()), new_session: true, ..Launch::default() }
    }

    fn program(&self, name: &str) -> Result<String, Error> {
        let path = self.programs.join(name);
        if path.is_file() { Ok(path.display().to_string()) } else { Err(Error::NotBuilt(path)) }
    }
}

impl Process {
    fn spawn(&mut self, layout: &Layout, testbed_program: &Path) -> Result<(), Error> {
        let failed = |source| Error::Io { name: self.name.clone(), source };
        let log =
            OpenOptions::new().create(true).append(true).open(layout.log(&self.name)).map_err(failed)?;
        let mut command = self.launch.command(testbed_program);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log).stdin(Stdio::null());
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }
}

/// Whether the relay behind this admin socket has told wire everything.
fn is_ready(socket: &Path) -> bool {
    let answer = UnixStream::connect(socket).ok().and_then(|stream| http::get(stream, "/status").ok());
    answer.is_some_and(|status| status.contains("\"ready\":true"))
}
