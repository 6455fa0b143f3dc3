//! Open connections, so that each byte is counted once: samples and the final event carry totals,
//! and what was counted of them before is taken off.

use std::collections::HashMap;
use std::sync::Arc;

use super::labels::FlowLabels;

/// The most connections followed at once: every flow the kernel holds, seen from both sides.
const LIMIT: usize = 2 * mesh_ebpf::abi::capacity::FLOWS as usize;

/// Totals of a connection, or what they grew by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Bytes the reporting side sent.
    pub sent: u64,
    /// Bytes it received.
    pub received: u64,
    /// Segments it retransmitted.
    pub retransmits: u64,
}

impl Progress {
    /// What `self` has that `counted` had not. A total never shrinks; if it seems to, nothing moved.
    fn beyond(self, counted: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(counted.sent),
            received: self.received.saturating_sub(counted.received),
            retransmits: self.retransmits.saturating_sub(counted.retransmits),
        }
    }
}

/// Open connections by socket cookie.
#[derive(Debug, Default)]
pub(super) struct Flows {
    open: HashMap<u64, Open>,
    untracked: u64,
    round: u64,
}

#[derive(Debug)]
struct Open {
    labels: Arc<FlowLabels>,
    counted: Progress,
    /// The round of samples or events it was last seen in.
    seen: u64,
}

/// Updates after which a connection that no sample names any more is forgotten, when room is
/// needed: its end was lost with the events.
const STALE: u64 = 4 * LIMIT as u64;

impl Flows {
    /// A connection was established.
    pub(super) fn opened(&mut self, cookie: u64, labels: FlowLabels) {
        if cookie == 0 || !self.has_room() {
            self.untracked += 1;
            return;
        }
        let open = Open { labels: Arc::new(labels), counted: Progress::default(), seen: self.round };
        self.open.insert(cookie, open);
    }

    /// A connection ended with these totals: its labels and what was not counted yet. `None` when
    /// it was not followed.
    pub(super) fn closed(&mut self, cookie: u64, totals: Progress) -> Option<(FlowLabels, Progress)> {
        let open = self.open.remove(&cookie)?;
        let moved = totals.beyond(open.counted);
        Some((Arc::unwrap_or_clone(open.labels), moved))
    }

    /// A connection has these totals so far: its labels and what they grew by. One that was opened
    /// unseen is followed from here: an earlier relay may have counted what it moved before.
    pub(super) fn sampled(
        &mut self,
        cookie: u64,
        totals: Progress,
        labels: impl FnOnce() -> FlowLabels,
    ) -> Option<(&FlowLabels, Progress)> {
        self.round += 1;
        if !self.open.contains_key(&cookie) {
            if !self.has_room() {
                self.untracked += 1;
                return None;
            }
            let open = Open { labels: Arc::new(labels()), counted: totals, seen: self.round };
            self.open.insert(cookie, open);
            return None;
        }
        let open = self.open.get_mut(&cookie)?;
        let moved = totals.beyond(open.counted);
        open.counted = totals;
        open.seen = self.round;
        Some((&open.labels, moved))
    }

    /// How many connections found no room: their bytes count only when they end.
    pub(super) fn untracked(&self) -> u64 {
        self.untracked
    }

    fn has_room(&mut self) -> bool {
        if self.open.len() < LIMIT {
            return true;
        }
        let round = self.round;
        self.open.retain(|_, open| round - open.seen < STALE);
        self.open.len() < LIMIT
    }
}
