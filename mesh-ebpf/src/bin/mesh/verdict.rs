//! Asks the compiled policy in the maps.

use aya_ebpf::maps::lpm_trie::Key;
use mesh_ebpf::{
    abi::Reason,
    address::Address,
    policy::{CidrKey, Peer, Question, Ruling, RulingKey, Rulings, SetId, Verdict, decide, rule},
};

use crate::{
    maps::{CIDRS, RULINGS},
    report::{self, Subject},
};

/// The policy in the kernel's maps.
struct Loaded;

impl Rulings for Loaded {
    #[inline(always)]
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        RULINGS.get(Key::new(RulingKey::BITS, *key)).copied()
    }

    #[inline(always)]
    fn cidr(&self, key: &CidrKey) -> Option<u64> {
        CIDRS.get(Key::new(CidrKey::BITS, *key)).copied()
    }
}

const PROVEN: u64 = 1;
const CLAIMED: u64 = 2;
const UNKNOWN: u64 = 3;

/// The verdict of `set`, packed into the one register that a BPF function returns. `what` holds
/// the peer's standing, the protocol and the port, 16 bits each.
#[inline(never)]
fn packed(set: u64, what: u64, group: u64, address: &Address) -> u64 {
    let peer = match what & 0xffff {
        PROVEN => Peer::Proven(group),
        CLAIMED => Peer::Claimed(group),
        _ => Peer::Unknown,
    };
    let question =
        Question { peer, address: *address, protocol: (what >> 16) as u8, port: (what >> 32) as u16 };
    let verdict = decide(&Loaded, SetId(set), &question);
    u64::from(verdict.allowed)
        | u64::from(verdict.audit_denies) << 1
        | u64::from(verdict.deferred) << 2
        | u64::from(verdict.mtls) << 8
        | u64::from(verdict.rule) << 16
        | u64::from(verdict.audit_rule) << 32
}

/// The verdict of `set`. The question is passed in registers: an enum stored to the stack has
/// bytes that no variant writes, which the verifier refuses to copy.
#[inline(always)]
pub fn ask(set: SetId, peer: Peer, address: &Address, protocol: u8, port: u16) -> Verdict {
    let standing = match peer {
        Peer::Proven(_) => PROVEN,
        Peer::Claimed(_) => CLAIMED,
        Peer::Unknown => UNKNOWN,
    };
    let what = standing | u64::from(protocol) << 16 | u64::from(port) << 32;
    let packed = packed(set.0, what, peer.group(), address);
    Verdict {
        allowed: packed & 1 != 0,
        audit_denies: packed & 2 != 0,
        deferred: packed & 4 != 0,
        rule: (packed >> 16) as u16,
        audit_rule: (packed >> 32) as u16,
        mtls: (packed >> 8) as u8,
    }
}

/// Whether `set` lets a protocol other than TCP and UDP through; reports it when not.
#[inline(always)]
pub fn allows_protocol(set: SetId, peer: Peer, address: &Address, subject: &Subject) -> bool {
    let verdict = ask(set, peer, address, 0, 0);
    if !verdict.allowed {
        let reason = if verdict.rule < rule::LIMIT { Reason::PolicyDenied } else { Reason::ProtocolDenied };
        report::denied(subject, reason, set, verdict.rule);
    }
    verdict.allowed
}
