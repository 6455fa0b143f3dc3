//! The launcher: what stands between the testbed and every process it runs. It is a process of its own with one
//! thread, joins the control group and the namespaces, gives up its rights and becomes the command.

mod mounts;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ffi::CString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::signal::SigSet,
    unistd::{self, Gid, Uid},
};
use serde::{Deserialize, Serialize};

pub use mounts::{Bind, RootView};

use crate::cgroup;

/// A process to run: where, as whom, what. Every field but `argv` may be left as it is by default, which is to inherit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Launch {
    /// The control group to join, before anything else is done.
    pub cgroup: Option<PathBuf>,
    /// The network namespace to enter.
    pub network: Option<PathBuf>,
    /// The namespace of the host name to enter.
    pub uts: Option<PathBuf>,
    /// The mount namespace to enter.
    pub mounts: Option<PathBuf>,
    /// Make a network namespace, with loopback up and duplicate address detection off.
    pub new_network: bool,
    /// Make a namespace for this host name.
    pub hostname: Option<String>,
    /// Make a mount namespace that sees the file system like this.
    pub root: Option<RootView>,
    /// Become this user.
    pub user: Option<User>,
    /// The working directory.
    pub directory: Option<PathBuf>,
    /// The whole environment; if `None` it is inherited.
    pub environment: Option<BTreeMap<String, String>>,
    /// Leave the caller's session and terminal.
    pub new_session: bool,
    /// The command; none means to wait for ever, as a pod's sandbox does.
    pub argv: Vec<String>,
}

/// A user to become; with another uid than 0 all capabilities are lost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id, and the only group.
    pub gid: u32,
    /// Never gain rights again, not even by a setuid program.
    pub no_new_privileges: bool,
}

/// Why a process could not be launched. The launcher prints it and ends with status 128.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control group could not be joined.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A step failed.
    #[error("cannot {step} {on}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// On what.
        on: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The specification is not what this program writes.
    #[error("the launcher was given no valid specification: {0}")]
    Specification(#[from] serde_json::Error),
}

/// What a sandbox prints once its namespaces are made.
pub const SANDBOX_READY: &str = "ready";

/// The exit status of a launcher that could not become its command.
pub const LAUNCH_FAILED: i32 = 128;

fn step<E: Into<io::Error>>(step: &'static str, on: impl ToString) -> impl FnOnce(E) -> Error {
    move |source| Error::Step { step, on: on.to_string(), source: source.into() }
}

impl Launch {
    /// The command that launches this, by way of the testbed's own program.
    ///
    /// # Panics
    /// Never: the specification has only strings as keys.
    #[must_use]
    pub fn command(&self, testbed_program: &Path) -> Command {
        let specification = serde_json::to_string(self).expect("a launch specification is plain data");
        let mut command = Command::new(testbed_program);
        command.arg("launch").arg(specification).stdin(Stdio::null());
        command
    }

    /// Becomes the command; the caller is the launcher process and must have one thread only.
    ///
    /// # Errors
    /// If a step fails.
    pub fn become_it(self) -> Result<Infallible, Error> {
        // The supervisor blocks signals to wait for them; that must not be passed on.
        SigSet::all().thread_unblock().map_err(step("unblock", "signals"))?;
        if self.new_session {
            // Fails only for a group leader, which has what was asked for.
            let _ = unistd::setsid();
        }
        if let Some(path) = &self.cgroup {
            cgroup::join(path)?;
        }
        let targets = [
            (&self.network, CloneFlags::CLONE_NEWNET),
            (&self.uts, CloneFlags::CLONE_NEWUTS),
            (&self.mounts, CloneFlags::CLONE_NEWNS),
        ];
        // All are opened first: entering a mount namespace changes what the paths mean.
        let mut opened = Vec::new();
        for (path, kind) in targets {
            if let Some(path) = path {
                opened.push((
                    File::open(path).map_err(step("open the namespace", path.display()))?,
                    kind,
                    path,
                ));
            }
        }
        for (file, kind, path) in opened {
            setns(file, kind).map_err(step("enter the namespace", path.display()))?;
        }
        if self.new_network {
            unshare(CloneFlags::CLONE_NEWNET).map_err(step("make", "a network namespace"))?;
            prepare_network()?;
        }
        if let Some(hostname) = &self.hostname {
            unshare(CloneFlags::CLONE_NEWUTS).map_err(step("make", "a host name namespace"))?;
            unistd::sethostname(hostname).map_err(step("set the host name", hostname))?;
        }
        if let Some(root) = &self.root {
            root.enter()?;
        }
        if let Some(directory) = &self.directory {
            unistd::chdir(directory).map_err(step("enter the directory", directory.display()))?;
        }
        if let Some(user) = self.user {
            user.become_it()?;
        }
        if self.argv.is_empty() {
            // Whoever launched a sandbox waits for this before it uses the namespaces.
            println!("{SANDBOX_READY}");
            loop {
                unistd::pause();
            }
        }
        execute(&self.argv, self.environment.as_ref())
    }
}

impl User {
    fn become_it(self) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        unistd::setgroups(&[gid]).map_err(step("set the groups to", gid))?;
        unistd::setresgid(gid, gid, gid).map_err(step("set the group to", gid))?;
        unistd::setresuid(uid, uid, uid).map_err(step("set the user to", uid))?;
        if self.no_new_privileges {
            nix::sys::prctl::set_no_new_privs().map_err(step("give up", "new privileges"))?;
        }
        Ok(())
    }
}

/// What a fresh network namespace needs before an address is put in.
fn prepare_network() -> Result<(), Error> {
    for setting in ["net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad"] {
        let path = Path::new("/proc/sys").join(setting);
        fs::write(&path, "0").map_err(step("write", path.display()))?;
    }
    let up = crate::tool::ip(None, &["link set lo up".to_owned()]);
    up.map_err(io::Error::other).map_err(step("set up", "loopback"))
}

fn execute(argv: &[String], environment: Option<&BTreeMap<String, String>>) -> Result<Infallible, Error> {
    let fail = |source: io::Error| Error::Step { step: "run", on: argv.join(" "), source };
    let text = |argument: &String| CString::new(argument.as_bytes()).map_err(|error| fail(error.into()));
    let arguments = argv.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let inherited = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let inherited: BTreeMap<String, String> = inherited.collect();
    let environment = environment.unwrap_or(&inherited);
    let pairs = environment.iter().map(|(name, value)| text(&format!("{name}={value}")));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let program = find_program(&argv[0], environment.get("PATH").map_or("", String::as_str));
    let program =
        CString::new(program.into_os_string().into_encoded_bytes()).map_err(|error| fail(error.into()))?;
    unistd::execve(&program, &arguments, &pairs).map_err(|errno| fail(errno.into()))
}

/// Looks a command up on the `PATH` that it will have, not on the launcher's.
fn find_program(name: &str, path: &str) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| name.into())
}
