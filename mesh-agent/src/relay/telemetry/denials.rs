//! Exact denials: rows of absolute counts, turned into what was added since they were last read.

use std::collections::HashMap;

use mesh_ebpf::abi::Reason;
use mesh_ebpf::policy::{Direction, SetId};

use crate::handover::DenialCount;

/// The most rows remembered: what the kernel's map holds, and as many that it has dropped.
const LIMIT: usize = 2 * mesh_ebpf::abi::capacity::DENIALS as usize;

/// What was read of every row.
#[derive(Debug, Default)]
pub(super) struct Denials {
    /// Its count, and the round it was last there in.
    read: HashMap<Row, (u64, u64)>,
    round: u64,
}

/// What tells rows apart.
type Row = (u64, SetId, u16, Reason, Direction, bool, u8, u64);

fn row(count: &DenialCount) -> Row {
    let DenialCount { uid, set, rule, reason, direction, audited, protocol, peer_group, .. } = *count;
    (uid, set, rule, reason, direction, audited, protocol, peer_group)
}

impl Denials {
    /// The rows that grew, each with by how much. A row that shrank was made anew: all of it is
    /// new.
    pub(super) fn take<'a>(&mut self, counts: &'a [DenialCount]) -> Vec<(&'a DenialCount, u64)> {
        self.round += 1;
        let mut grown = Vec::new();
        for count in counts {
            let (read, round) = self.read.entry(row(count)).or_default();
            let added = count.count.checked_sub(*read).unwrap_or(count.count);
            (*read, *round) = (count.count, self.round);
            if added > 0 {
                grown.push((count, added));
            }
        }
        if self.read.len() > LIMIT {
            let now = self.round;
            self.read.retain(|_, (_, round)| *round == now);
        }
        grown
    }
}
