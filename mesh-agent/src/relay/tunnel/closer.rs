//! Ends something that is open, and says why.

use std::cell::Cell;

use mesh_ebpf::abi::Reason;
use tokio::sync::Notify;

/// Ends one thing, from anywhere in its worker.
#[derive(Debug, Default)]
pub(crate) struct Closer {
    reason: Cell<Option<Reason>>,
    closed: Notify,
}

impl Closer {
    /// Ends it; the first reason stands.
    pub(crate) fn close(&self, reason: Reason) {
        if self.reason.get().is_none() {
            self.reason.set(Some(reason));
        }
        self.closed.notify_waiters();
    }

    /// Why it was ended, if it was.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason.get()
    }

    /// Waits until it is.
    pub(crate) async fn closed(&self) -> Reason {
        loop {
            // One thread: nothing happens between the look and the wait.
            if let Some(reason) = self.reason.get() {
                return reason;
            }
            self.closed.notified().await;
        }
    }
}
