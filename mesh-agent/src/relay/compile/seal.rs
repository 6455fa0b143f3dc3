//! Gives a set its name: the hash of its content.

use mesh_ebpf::policy::{CidrKey, Kind, Ruling, RulingKey, SetId};
use sha2::{Digest, Sha256};

use super::first_64_bits;
use super::named::Held;
use super::ranges::Ranges;
use crate::handover::PolicySet;

/// An entry before its set has a name.
pub(super) struct Keyed {
    /// What is known of the peer.
    pub kind: Kind,
    /// Group, CIDR number or pair.
    pub peer: u64,
    /// IP protocol, 0 for any other than TCP and UDP.
    pub protocol: u8,
    /// First port of the prefix.
    pub port: u16,
    /// Bits of the port that count.
    pub bits: u32,
    /// What it says.
    pub ruling: Ruling,
}

/// Names the set after its content.
pub(super) fn seal(
    entries: Vec<Keyed>,
    ranges: &Ranges<Held>,
    uses_pairs: bool,
    rules: Vec<(String, String)>,
) -> PolicySet {
    let mut hash = Sha256::new();
    for entry in &entries {
        hash.update([entry.kind as u8, entry.protocol]);
        hash.update(entry.peer.to_be_bytes());
        hash.update(entry.port.to_be_bytes());
        hash.update(entry.bits.to_be_bytes());
        let Ruling { enforced, audited } = entry.ruling;
        for hit in [enforced.admin, enforced.rest, audited.admin, audited.rest] {
            hash.update(hit.rank.to_be_bytes());
            hash.update(hit.rule.to_be_bytes());
            hash.update([hit.action, hit.mtls]);
        }
    }
    for (number, cidr, _) in ranges.iter() {
        hash.update(number.to_be_bytes());
        hash.update(cidr.address().0);
        hash.update(cidr.length().to_be_bytes());
    }
    for (policy, name) in &rules {
        for part in [policy, name] {
            hash.update(part);
            hash.update([0]);
        }
    }
    let id = SetId::new(first_64_bits(hash), !ranges.is_empty(), uses_pairs);
    let rulings = entries
        .into_iter()
        .map(|entry| {
            let key = RulingKey::new(id, entry.kind, entry.peer, entry.protocol, entry.port);
            (RulingKey::PREFIX_BITS + entry.bits, key, entry.ruling)
        })
        .collect();
    let cidrs = ranges
        .iter()
        .map(|(number, cidr, _)| {
            (CidrKey::PREFIX_BITS + cidr.length(), CidrKey::new(id, &cidr.address()), number)
        })
        .collect();
    PolicySet { id, rulings, cidrs, rules }
}
