//! Who discovery says has an address.

use mesh_ebpf::{abi::Workload, address::Address, policy::Peer};

use crate::maps::WORKLOADS;

/// The pod at an address, nothing where none is known.
#[inline(always)]
pub fn workload(address: &Address) -> Option<&'static Workload> {
    // SAFETY: a value of the map, readable until the program ends; entries are replaced whole and
    // read by word.
    unsafe { WORKLOADS.get(address) }
}

/// Whom an address claims to be, without proof. One that several pods share tells of none of them.
#[inline(always)]
pub fn claimed(address: &Address) -> Peer {
    match workload(address) {
        Some(workload) if workload.flags & Workload::HOST_NETWORK == 0 => Peer::Claimed(workload.group),
        _ => Peer::Unknown,
    }
}
