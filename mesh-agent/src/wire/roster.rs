//! The wired pods, published by the loop for the threads that work on their sockets.

use std::sync::{Arc, Mutex, PoisonError};

use mesh_ebpf::abi::Pod;

use crate::sys::netns::Netns;

/// A wired pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wired {
    /// Its UID.
    pub(super) uid: String,
    /// Its entry in the kernel.
    pub(super) entry: Pod,
    /// A process in its namespace.
    pub(super) pid: u32,
}

impl Wired {
    /// Its namespace, for one piece of work. None when the process is gone or is in another.
    pub(super) fn netns(&self) -> Option<Netns> {
        let netns = Netns::of_process(self.pid).ok()?;
        (netns.cookie().ok()? == self.entry.netns).then_some(netns)
    }
}

/// The shared list.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster(Arc<Mutex<Arc<Vec<Wired>>>>);

impl Roster {
    /// Replaces the list.
    pub(super) fn publish(&self, pods: Vec<Wired>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(pods);
    }

    /// The list as it is now.
    pub(super) fn get(&self) -> Arc<Vec<Wired>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
