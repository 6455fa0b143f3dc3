//! Pods whose connections the relay of an earlier wire takes.

use std::collections::BTreeSet;

use mesh_ebpf::abi::ListenerKey;

use super::listeners::keys;
use super::maps::Maps;

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

    /// Those whose earlier listeners nobody holds any more.
    pub(super) fn left(&self, maps: &Maps) -> Vec<u64> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let there = there(maps);
        let left = |netns: &&u64| keys(**netns).iter().any(|key| !there.contains(key));
        self.0.iter().filter(left).copied().collect()
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
