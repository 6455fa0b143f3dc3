//! From resources to entries of fixed shape: pure functions, no clock, no I/O.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`policy`] | the rules of one direction of one pod | a [`PolicySet`]: flat longest-prefix keys |
//! | [`named`] | the entries of its rules | who they name |
//! | [`painting`] | the rules that apply to one key | the first hit of every stage, for every port |
//! | [`ranges`] | the CIDRs of a set | numbers, and who inherits whose rules |
//! | [`seal`] | the entries of a set | its name |
//! | [`ports`] | port ranges | prefixes |
//! | [`services`] | a Service and its routes | entries of one port and address family each |
//! | [`shares`] | the backends of a route of connections | endpoints with weights |
//! | [`pods`] | a workload | the entry of a local pod |
//!
//! [`PolicySet`]: crate::handover::PolicySet

mod named;
mod painting;
mod pods;
mod policy;
mod ports;
mod ranges;
mod seal;
mod services;
mod shares;
#[cfg(test)]
mod tests;

pub(crate) use pods::{local_pod, peer_flags};
pub(crate) use policy::{
    CompileError, NO_RULE_ALLOWS, compile, denies_all, denies_other_protocols, isolating,
};
pub(crate) use services::port_entries;

use sha2::{Digest, Sha256};

/// What stands for a namespace's name in the kernel.
pub(crate) fn namespace_hash(namespace: &str) -> u64 {
    hash_of(&["namespace", namespace])
}

/// The first 64 bits of the SHA-256 of parts, each closed by a NUL.
fn hash_of(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    first_64_bits(hash)
}

fn first_64_bits(hash: Sha256) -> u64 {
    hash.finalize().iter().take(8).fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}
