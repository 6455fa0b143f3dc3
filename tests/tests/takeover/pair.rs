//! An agent beside the testbed's own: wire and relay with a directory of their own, started as those are.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use mesh_tests::{
    cgroup,
    launch::{Launch, User},
    testbed::Part,
    trial::{Trial, eventually},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::SOON;

/// How long the testbed's relays let open connections finish (`tests/src/supervisor/mesh.rs`).
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// What wire says when it is.
const IN_FORCE: &str = "the data path is in force";

/// wire and relay, or one of them.
pub(super) struct Pair {
    node: String,
    directory: PathBuf,
    /// How often wires in the directory were in force before this one.
    before: usize,
    wire: Mutex<Option<Child>>,
    relay: Mutex<Option<Child>>,
}

impl Pair {
    /// Starts both at once, as a pod's containers are.
    pub(super) fn start(trial: &Trial, node: &str, name: &str) -> Self {
        let pair = Self::wire_alone(trial, node, name);
        *pair.relay.lock().unwrap() = Some(pair.spawn(trial, Part::Relay));
        pair
    }

    /// Starts the privileged half in a directory of its own.
    pub(super) fn wire_alone(trial: &Trial, node: &str, name: &str) -> Self {
        let directory = trial.bed().node(node).run.join(name);
        fs::create_dir(&directory).unwrap();
        // As kubelet makes an emptyDir.
        fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        Self::wire_of(trial, node, name)
    }

    /// Starts the privileged half of a pair that is there.
    pub(super) fn wire_of(trial: &Trial, node: &str, name: &str) -> Self {
        let directory = trial.bed().node(node).run.join(name);
        let (wire, relay) = (Mutex::default(), Mutex::default());
        let mut pair = Self { node: node.to_owned(), directory, before: 0, wire, relay };
        pair.before = pair.log().matches(IN_FORCE).count();
        *pair.wire.lock().unwrap() = Some(pair.spawn(trial, Part::Wire));
        pair
    }

    /// As the testbed starts its own, with what a pod adds.
    fn spawn(&self, trial: &Trial, part: Part) -> Child {
        let (bed, node) = (trial.bed(), trial.bed().node(&self.node));
        let kept = bed.layout().run().join(format!("{}-{part}.argv", self.node));
        // The testbed's own is gone after the first replacement.
        if let Ok(pid) = bed.agent(&self.node, part) {
            fs::copy(format!("/proc/{pid}/cmdline"), &kept).unwrap();
        }
        let argv = fs::read(&kept).unwrap();
        let mut argv: Vec<String> =
            String::from_utf8(argv).unwrap().split_terminator('\0').map(str::to_owned).collect();
        argv.push(format!("--pod-dir={}", self.directory.display()));
        let user = if part == Part::Wire {
            argv.push(format!("--linger={}s", DRAIN.as_secs() + 3));
            None
        } else {
            // The run directory is root's, and relay's by its group.
            let relay = fs::metadata(&node.run).unwrap().gid();
            Some(User { uid: relay, gid: relay, no_new_privileges: true })
        };
        let name = self.directory.file_name().unwrap().to_string_lossy().into_owned();
        let control_group = node.cgroup.join(format!("mesh-agent-{name}-{part}"));
        cgroup::create(&control_group).unwrap();
        let launch = Launch {
            argv,
            cgroup: Some(control_group),
            network: Some(node.netns()),
            user,
            directory: Some("/".into()),
            new_session: true,
            ..Launch::default()
        };
        let log = OpenOptions::new().create(true).append(true).open(self.log_of(part)).unwrap();
        let mut command = launch.command(Path::new(env!("CARGO_BIN_EXE_mesh-testbed")));
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap()
    }

    fn log_of(&self, part: Part) -> PathBuf {
        self.directory.join(format!("{part}.log"))
    }

    /// What both said.
    pub(super) fn log(&self) -> String {
        let read = |part| fs::read_to_string(self.log_of(part)).unwrap_or_default();
        format!("{} {}\n{}{}", self.node, self.directory.display(), read(Part::Wire), read(Part::Relay))
    }

    pub(super) fn node(&self) -> &'static str {
        super::NODES.into_iter().find(|node| *node == self.node).unwrap()
    }

    /// Waits as kubelet does: until the probe of relay's container succeeds.
    pub(super) fn wait_ready(&self) {
        let testbed = Path::new(env!("CARGO_BIN_EXE_mesh-testbed"));
        let agent = testbed.with_file_name("mesh-agent");
        let mut last = String::new();
        for _ in 0..900 {
            let pod_dir = format!("--pod-dir={}", self.directory.display());
            let probe = Command::new(&agent).args(["ready", &pod_dir]).output().unwrap();
            if probe.status.success() {
                return;
            }
            assert!(!ended(&self.relay), "the relay of {} has ended\n{}", self.node, self.log());
            last = String::from_utf8_lossy(&probe.stderr).into_owned();
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{} is not ready: {last}\n{}", self.node, self.log());
    }

    /// Waits until wire has taken over.
    pub(super) fn wait_in_force(&self) {
        eventually("the next wire is in force", SOON, || {
            let log = fs::read_to_string(self.log_of(Part::Wire)).unwrap_or_default();
            (log.matches(IN_FORCE).count() > self.before).then_some(())
        });
    }

    /// Waits until wire has ended by itself, while relay goes on.
    pub(super) fn wait_wire_ended(&self, limit: Duration) {
        eventually("wire ends because it is needed again", limit, || ended(&self.wire).then_some(()));
        assert!(!ended(&self.relay), "{}", self.log());
        assert!(self.log().contains("to be started anew"), "{}", self.log());
    }

    /// Whether both run.
    pub(super) fn is_running(&self) -> bool {
        !ended(&self.wire) && !ended(&self.relay)
    }

    /// Sends both a signal at once.
    pub(super) fn tell(&mut self, signal: Signal) {
        for child in [&self.wire, &self.relay] {
            if let Some(child) = &*child.lock().unwrap() {
                kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
            }
        }
    }

    /// Waits until none runs.
    pub(super) fn wait_gone(&self, limit: Duration) {
        eventually("the agent has ended", limit, || (ended(&self.wire) && ended(&self.relay)).then_some(()));
    }
}

/// Whether a process has ended, or there is none.
fn ended(child: &Mutex<Option<Child>>) -> bool {
    child.lock().unwrap().as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in [&self.wire, &self.relay] {
            if let Some(child) = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut() {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Has the testbed's own agent of a node end and stay away.
pub(super) fn end_testbeds_own(trial: &Trial, node: &str) {
    let bed = trial.bed();
    for part in [Part::Relay, Part::Wire] {
        fs::write(bed.layout().hold(&format!("mesh-agent-{part}.{node}")), "").unwrap();
        bed.signal_agent(node, part, Signal::SIGTERM).unwrap();
    }
    eventually("the testbed's own agent has ended", SOON, || {
        [Part::Relay, Part::Wire].iter().all(|part| bed.agent(node, *part).is_err()).then_some(())
    });
}
