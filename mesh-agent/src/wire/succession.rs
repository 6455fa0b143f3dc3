//! Pods whose connections the relay of an earlier wire takes, until the relay of this one does.
//!
//! This wire makes listeners of its own in each of them. The kernel goes on handing connections to the earlier ones,
//! which the other agent holds, until relay says that it has what it needs for the pod, or the earlier ones are gone:
//! so there is always somebody who accepts, and nothing that waits in a listener is lost with it.

use std::collections::BTreeSet;

use mesh_ebpf::abi::ListenerKey;

use super::apply::Kernel;
use super::listeners::keys;
use super::maps::{MapFailure, Maps};

/// Cookies of the namespaces of such pods.
#[derive(Debug, Default)]
pub(super) struct Earlier(BTreeSet<u64>);

impl Earlier {
    /// Those whose listeners are in the map now.
    pub(super) fn of(maps: &Maps) -> Self {
        let there = there(maps);
        let is_whole = |netns: &u64| keys(*netns).iter().all(|key| there.contains(key));
        let namespaces: BTreeSet<u64> = there.iter().map(|key| key.netns).collect();
        Self(namespaces.into_iter().filter(is_whole).collect())
    }

    /// Whether another relay takes a namespace's connections.
    pub(super) fn serves(&self, netns: u64) -> bool {
        self.0.contains(&netns)
    }

    /// Nobody does any longer.
    pub(super) fn forget(&mut self, netns: u64) {
        self.0.remove(&netns);
    }
}

/// Keys under which somebody listens: a listener that is closed by all leaves the map.
fn there(maps: &Maps) -> BTreeSet<ListenerKey> {
    maps.listeners.keys().filter_map(Result::ok).collect()
}

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
        if self.earlier.0.is_empty() {
            return Ok(());
        }
        let there = there(&self.maps);
        let left = |netns: &&u64| keys(**netns).iter().any(|key| !there.contains(key));
        let left: Vec<u64> = self.earlier.0.iter().filter(left).copied().collect();
        left.into_iter().try_for_each(|netns| self.hand_over(netns))
    }

    fn hand_over(&mut self, netns: u64) -> Result<(), MapFailure> {
        if let Some(kept) = self.listeners.in_namespace(netns) {
            self.place(netns, &kept.pair)?;
        }
        self.earlier.forget(netns);
        Ok(())
    }
}
