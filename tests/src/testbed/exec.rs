//! Running commands in pods and on nodes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{Error, Pod, Testbed, builder::program};
use crate::{cgroup, launch::Launch};

impl Testbed {
    /// Runs a command in a pod's first container to its end.
    ///
    /// # Errors
    /// If the pod does not run or the command cannot be started; that it fails is in its status.
    pub fn exec(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Output, Error> {
        Ok(self.command(namespace, pod, None, argv)?.output()?)
    }

    /// Starts a command in a pod's first container, with pipes for its input and output.
    ///
    /// # Errors
    /// As [`Testbed::exec`].
    pub fn spawn(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Child, Error> {
        let mut command = self.command(namespace, pod, None, argv)?;
        Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// A command in a container of a pod, the first if none is named, to be started as the caller likes.
    ///
    /// # Errors
    /// If the pod does not run.
    pub fn command(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        argv: &[&str],
    ) -> Result<Command, Error> {
        Ok(self.launch(namespace, pod, container, argv)?.command(&program()?))
    }

    /// Runs a command on a node: in its network and the control group of its kubelet.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn exec_node(&self, node: &str, argv: &[&str]) -> Result<Output, Error> {
        Ok(self.node_command(node, argv)?.output()?)
    }

    /// A command on a node, to be started as the caller likes.
    ///
    /// # Errors
    /// If the testbed's program is not there.
    pub fn node_command(&self, node: &str, argv: &[&str]) -> Result<Command, Error> {
        let node = self.node(node);
        let program = program()?;
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        environment.insert("PATH".to_owned(), path(&program));
        let launch = Launch {
            cgroup: Some(node.kubelet_cgroup()),
            network: Some(node.netns()),
            environment: Some(environment),
            argv: argv.iter().map(ToString::to_string).collect(),
            ..Launch::default()
        };
        Ok(launch.command(&program))
    }

    /// How a command in a pod is launched.
    pub(crate) fn launch(
        &self,
        namespace: &str,
        name: &str,
        container: Option<&str>,
        argv: &[&str],
    ) -> Result<Launch, Error> {
        let pod = self.pod(namespace, name)?;
        let container = container.unwrap_or(&pod.default_container);
        let not_running =
            || Error::NotRunning { pod: format!("{namespace}/{name}"), container: container.to_owned() };
        let sandbox = pod.sandbox.ok_or_else(not_running)?;
        let cgroup = pod.cgroup.join(container);
        if container.is_empty() || !cgroup.is_dir() {
            return Err(not_running());
        }
        // Its file system and environment are those of its process; between two of them, the sandbox's will do.
        let process = cgroup::processes(&cgroup).first().map_or(sandbox, |pid| pid.as_raw());
        let mut environment = environment(process);
        // Just started, it may still be its launcher, which does not have the container's environment yet.
        let (known, ours) = (environment.entry("PATH".to_owned()).or_default(), path(&program()?));
        if !ours.split(':').all(|folder| known.split(':').any(|other| other == folder)) {
            *known = ours;
        }
        let handle = |pid: i32, kind: &str| Some(format!("/proc/{pid}/ns/{kind}").into());
        Ok(Launch {
            cgroup: Some(cgroup),
            network: handle(sandbox, "net"),
            uts: handle(sandbox, "uts"),
            mounts: handle(process, "mnt"),
            directory: Some("/".into()),
            environment: Some(environment),
            argv: argv.iter().map(ToString::to_string).collect(),
            ..Launch::default()
        })
    }

    /// Calls `work` on a thread that is in another network namespace; its sockets are made there. The control group
    /// stays the caller's.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn in_netns<T: Send + 'static>(
        &self,
        netns: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let file = File::open(netns)?;
        let thread = thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)?;
            Ok(work())
        });
        match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Calls `work` on a thread that is in a pod's network namespace, see [`Testbed::in_netns`].
    ///
    /// # Errors
    /// If the pod does not run.
    pub fn in_pod<T: Send + 'static>(
        &self,
        pod: &Pod,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let not_running =
            || Error::NotRunning { pod: format!("{}/{}", pod.namespace, pod.name), container: String::new() };
        self.in_netns(&pod.netns().ok_or_else(not_running)?, work)
    }
}

/// The environment of a process.
fn environment(pid: i32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn path(program: &Path) -> String {
    let ours = program.parent().unwrap_or(Path::new("/"));
    format!("{}:{}", std::env::var("PATH").unwrap_or_default(), ours.display())
}
