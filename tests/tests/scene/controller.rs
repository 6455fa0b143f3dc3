//! The controller's process: stopped, continued, killed.

use std::fs;

use mesh_tests::{cgroup, testbed::Testbed};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::SOON;

/// The supervisor's name for the process.
const PROCESS: &str = "mesh-control";

fn pid(bed: &Testbed) -> Option<Pid> {
    cgroup::processes(&bed.layout().cgroup().join(format!(".{PROCESS}"))).first().copied()
}

/// Sends it a signal.
pub(crate) fn signal(bed: &Testbed, signal: Signal) {
    kill(pid(bed).expect("the controller runs"), signal).unwrap();
}

/// A stopped controller, which goes on when this is dropped: what is new in between, discovery does not know.
#[derive(Debug)]
pub(crate) struct Stopped<'a>(&'a Testbed);

impl<'a> Stopped<'a> {
    /// Stops it.
    pub(crate) fn now(bed: &'a Testbed) -> Self {
        signal(bed, Signal::SIGSTOP);
        Self(bed)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        signal(self.0, Signal::SIGCONT);
    }
}

/// Kills it and waits for the next one, which is started at once.
pub(crate) fn crash(bed: &Testbed) {
    let old = pid(bed);
    signal(bed, Signal::SIGKILL);
    bed.wait_for("another controller", SOON, || match pid(bed) {
        now if now.is_some() && now != old => Ok(()),
        now => Err(format!("{now:?}")),
    })
    .unwrap();
}

/// Kills it and keeps it from being started again, until [`release`].
pub(crate) fn hold(bed: &Testbed) {
    fs::write(bed.layout().hold(PROCESS), "").unwrap();
    signal(bed, Signal::SIGKILL);
    bed.wait_for("the controller to be gone", SOON, || pid(bed).map_or(Ok(()), |pid| Err(pid.to_string())))
        .unwrap();
}

/// Lets it be started again.
pub(crate) fn release(bed: &Testbed) {
    fs::remove_file(bed.layout().hold(PROCESS)).unwrap();
}
