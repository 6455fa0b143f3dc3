//! What the loop is told by the other threads, and where it hears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::given::Successor;
use crate::handover::ToWire;

/// Signals that may wait; relay waits when there are more.
const WAITING: usize = 1024;

/// Something happened.
#[derive(Debug)]
pub(super) enum Signal {
    /// A cgroup or an interface came, went or changed.
    Look,
    /// This process is of the agent: its sockets are not a pod's (SEMANTICS 7.1).
    Agent(u32),
    /// relay, of this session, says something.
    Relay(u64, ToWire),
    /// Another wire is to take the place of this one.
    GiveWay(Successor),
    /// This process is to end.
    End,
}

/// Tells the loop to look; many tellings before it does are one.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    rung: Arc<AtomicBool>,
    signals: SyncSender<Signal>,
}

impl Bell {
    /// Rings.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(TrySendError::Disconnected(_)) = self.signals.try_send(Signal::Look)
        {
            tracing::debug!("the loop has ended");
        }
    }
}

/// The two ends of the loop's signals.
pub(super) fn signals() -> (SyncSender<Signal>, Bell, Inbox) {
    let (sender, receiver) = sync_channel(WAITING);
    let rung = Arc::new(AtomicBool::new(false));
    let bell = Bell { rung: Arc::clone(&rung), signals: sender.clone() };
    (sender, bell, Inbox { receiver, rung })
}

/// Where the loop hears signals.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: Receiver<Signal>,
    rung: Arc<AtomicBool>,
}

impl Inbox {
    /// The next signal, which may take this long to come.
    ///
    /// # Errors
    /// When none came, or none can come any more.
    pub(super) fn next(&self, patience: Duration) -> Result<Signal, RecvTimeoutError> {
        self.receiver.recv_timeout(patience)
    }

    /// Those that wait already.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Signal> {
        self.receiver.try_iter()
    }

    /// To be called before looking: what happens during the look rings again.
    pub(super) fn look(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// The next signal, if one comes within this time.
    pub(super) fn within(&self, patience: Duration) -> Option<Signal> {
        self.next(patience).ok()
    }

    /// The next signal.
    #[cfg(test)]
    pub(super) fn wait(&self) -> Signal {
        self.receiver.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}
