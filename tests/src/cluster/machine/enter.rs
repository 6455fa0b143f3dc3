//! The first step of a machine: a process that joins its control groups and network, makes its other namespaces, and
//! starts in them the process that is the machine's first.

use std::{fs::File, os::unix::process::CommandExt as _, path::Path, process::Command};

use nix::sched::{CloneFlags, setns, unshare};

use super::{Machine, hierarchies};
use crate::cluster::{Error, error::io};

/// Starts the machine that `specification` describes; the caller has one thread only.
pub(in crate::cluster) fn enter(specification: &Path) -> Result<(), Error> {
    let machine = Machine::read(specification)?;
    // Before the control group namespace, whose root they become.
    hierarchies::join(&machine.name)?;
    let netns = File::open(&machine.netns).map_err(io("open", &machine.netns))?;
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(io("enter", &machine.netns))?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWPID;
    unshare(namespaces).map_err(io("make namespaces for", specification))?;
    let ours = std::env::current_exe().map_err(io("find", Path::new("/proc/self/exe")))?;
    let mut first = Command::new(&ours);
    first.arg("machine-init").arg(specification).process_group(0).spawn().map_err(io("run", &ours))?;
    Ok(())
}

impl Machine {
    /// Reads one that [`Machine::start`] wrote.
    pub(super) fn read(specification: &Path) -> Result<Self, Error> {
        let text = std::fs::read(specification).map_err(io("read", specification))?;
        Ok(serde_json::from_slice(&text)?)
    }
}
