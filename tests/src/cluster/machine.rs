//! A machine of the cluster: processes that see a file system, processes, devices, host name, network and control
//! groups as a machine of their own has them. What programs on a real machine write for the whole machine (pins,
//! `/run`, images, the root of the cgroup tree) is then each machine's own, and goes with it.

mod enter;
mod hierarchies;
mod init;
mod root;

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

pub(super) use enter::enter;
pub(super) use hierarchies::remove as remove_cgroups;
pub(super) use init::{Endings, run as init};

use super::{Error, error::io, place::Place};
use crate::launch::Bind;

/// Where a machine finds the programs of the cluster.
pub(super) const PROGRAMS: &str = "/opt/mesh-cluster/programs";

/// Where a machine finds the program that it begins with.
const OURSELVES: &str = "/opt/mesh-cluster/mesh-cluster";

/// A machine to be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Its host name.
    pub(super) name: String,
    /// Where its folders are, outside.
    folder: PathBuf,
    /// Its network namespace.
    netns: PathBuf,
    /// What it sees of ours, beside all that is in `/`.
    binds: Vec<Bind>,
    /// What runs on it.
    daemons: Vec<Daemon>,
}

/// A program that a machine runs, and starts again if it ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Daemon {
    /// Its name, also that of its log and control group.
    pub(super) name: String,
    /// The command.
    pub(super) argv: Vec<String>,
    /// Started only once this exists, in the machine.
    pub(super) after: Option<PathBuf>,
}

/// Folders that a machine does not share with others, by their names in [`Place::machine`]; containers cannot be kept
/// on the overlay that the rest is.
const FOLDERS: [(&str, &str); 5] = [
    ("run", "/run"),
    ("etc", "/etc/kubernetes"),
    ("log", "/var/log/kubernetes"),
    ("containerd", "/var/lib/containerd"),
    ("kubelet", "/var/lib/kubelet"),
];

impl Machine {
    /// A machine with its folders; its network namespace must be there when it is started.
    pub(super) fn new(place: &Place, name: &str, daemons: Vec<Daemon>) -> Result<Self, Error> {
        let folder = Place::machine(name);
        let mut binds = vec![
            bind(place.programs(), PROGRAMS),
            bind(std::env::current_exe().map_err(io("find", Path::new("/proc/self/exe")))?, OURSELVES),
        ];
        for (source, target) in FOLDERS {
            let source = folder.join(source);
            fs::create_dir_all(&source).map_err(io("make", &source))?;
            binds.push(bind(source, target));
        }
        Ok(Self { name: name.to_owned(), folder, netns: Place::netns(name), binds, daemons })
    }

    /// Starts it; it goes on when the caller ends.
    pub(super) fn start(&self) -> Result<(), Error> {
        hierarchies::create(&self.name)?;
        let specification = self.folder.join("machine.json");
        fs::write(&specification, serde_json::to_vec_pretty(self)?).map_err(io("write", &specification))?;
        let log = Place::log(&self.name, "machine");
        let file = File::create(&log).map_err(io("write", &log))?;
        let again = file.try_clone().map_err(io("write", &log))?;
        let ours = std::env::current_exe().map_err(io("find", Path::new("/proc/self/exe")))?;
        let mut command = Command::new(&ours);
        command.arg("machine").arg(&specification).stdin(Stdio::null()).stdout(file).stderr(again);
        let status = command.status().map_err(io("run", &ours))?;
        if status.success() {
            return Ok(());
        }
        Err(super::progress::blame(&self.name, "machine", format!("could not be made ({status})")))
    }
}

fn bind(source: PathBuf, target: &str) -> Bind {
    Bind { source, target: target.into(), read_only: false }
}
