//! Pods whose connections the relay of an earlier wire takes, until the relay of this one does.
//!
//! This wire makes listeners of its own in each of them. The kernel goes on handing connections to the earlier ones,
//! which the other agent holds, until relay says that it has what it needs for the pod, or the earlier ones are gone:
//! so there is always somebody who accepts, and nothing that waits in a listener is lost with it.

use super::apply::Kernel;
use super::maps::MapFailure;

impl Kernel {
    /// relay takes the connections of a pod, at the listeners made at this time: they are handed to these from now
    /// on.
    ///
    /// # Errors
    /// When the map refuses.
    pub(super) fn taken_up(&mut self, uid: u64, made_at: u64) -> Result<(), MapFailure> {
        let kept = self.listeners.of(uid).filter(|kept| kept.made_at == made_at);
        match kept {
            Some(kept) if self.earlier.serves(kept.netns) => self.hand_over(kept.netns),
            _ => Ok(()),
        }
    }

    /// Takes over the pods whose earlier listeners nobody holds any more.
    ///
    /// # Errors
    /// When the map refuses.
    pub(super) fn take_up_what_is_left(&mut self) -> Result<(), MapFailure> {
        self.earlier.left(&self.maps).into_iter().try_for_each(|netns| self.hand_over(netns))
    }

    fn hand_over(&mut self, netns: u64) -> Result<(), MapFailure> {
        if let Some(kept) = self.listeners.in_namespace(netns) {
            self.place(netns, &kept.pair)?;
        }
        self.earlier.forget(netns);
        Ok(())
    }
}
