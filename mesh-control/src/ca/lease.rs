//! Whether a connected node still counts.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    peer::Peer,
    time::Timestamp,
    trust::{Refusal, Trust},
};

/// A node's right to be served, which ends when the node is removed or its certificate expires.
#[derive(Debug)]
pub(crate) struct Lease {
    peer: Arc<Peer>,
    trust: watch::Receiver<Option<Arc<Trust>>>,
}

impl Lease {
    /// The right of a node, if it has one now.
    pub(crate) fn new(peer: Arc<Peer>, trust: watch::Receiver<Option<Arc<Trust>>>) -> Result<Self, Refusal> {
        let mut lease = Self { peer, trust };
        lease.check()?;
        Ok(lease)
    }

    /// The node.
    pub(crate) fn node(&self) -> &str {
        self.peer.id.name()
    }

    fn check(&mut self) -> Result<(), Refusal> {
        let trust = self.trust.borrow_and_update().clone();
        // Once there is trust it is only replaced.
        trust.map_or(Ok(()), |trust| trust.admit(&self.peer, Timestamp::now()))
    }

    /// Waits until the right ends.
    pub(crate) async fn lost(&mut self) -> Refusal {
        loop {
            if let Err(refusal) = self.check() {
                return refusal;
            }
            // A second more: whole seconds are compared.
            let left = self.peer.not_after.since(Timestamp::now()) + Duration::from_secs(1);
            tokio::select! {
                changed = self.trust.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}
