//! The access verdict of one connection, the same in the kernel, in the CLI and in the tests.
//!
//! User space compiles a pod's policies to an immutable **set**, named by the hash of its content,
//! and points the pod at it. A set is flat: longest-prefix keys `{set, peer, kind, protocol, port}`
//! whose value, a [`Ruling`], says which rule decides first for that peer and port. A decision
//! makes at most five lookups whatever the number of policies:
//!
//! 1. the peer's group under its [`Kind`], else the group 0 (anyone) under it; a group that any
//!    rule names has keys for every port, so one match is complete;
//! 2. where the set names CIDRs: the most specific CIDR around the peer's address, then its keys
//!    (a CIDR's keys hold the rules of every CIDR around it, too);
//! 3. where a rule asks for a group *and* a CIDR: the keys of that pair.
//!
//! What they find is merged by rank, the position in the order of SEMANTICS 5.1: the Admin tier
//! decides first unless it passes, then everything after it.

mod key;
mod ruling;

use crate::address::Address;

pub use key::{CidrKey, Direction, Kind, RulingKey, SetId, pair};
pub use ruling::{Action, Hit, Mtls, Ruling, Stages, rule};

/// Where a decision finds compiled policy: the maps in the kernel, the same maps read from user
/// space, or a test's own.
pub trait Rulings {
    /// The longest match of `key` over its whole length.
    fn ruling(&self, key: &RulingKey) -> Option<Ruling>;
    /// The longest match of `key` over its whole length: the number of the CIDR, never 0.
    fn cidr(&self, key: &CidrKey) -> Option<u64>;
}

/// Who the peer is, by proof or by its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Proven, or a destination: its group, 0 when it is not a known pod.
    Proven(u64),
    /// Unproven; the group that discovery knows its address by.
    Claimed(u64),
    /// Unproven, from an address nobody knows.
    Unknown,
}

impl Peer {
    /// Its group, 0 when unknown.
    #[inline(always)]
    #[must_use]
    pub const fn group(&self) -> u64 {
        match self {
            Self::Proven(group) | Self::Claimed(group) => *group,
            Self::Unknown => 0,
        }
    }
}

/// What is asked of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// The peer.
    pub peer: Peer,
    /// Its address.
    pub address: Address,
    /// TCP, UDP, or 0 for any other protocol.
    pub protocol: u8,
    /// The server's port.
    pub port: u16,
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether the connection may be, as it is.
    pub allowed: bool,
    /// Whether the agent is to decide for each request of it; then it is not `allowed` as it is.
    pub deferred: bool,
    /// Whether the Audit policies, if enforced, would have denied what is allowed; of what is deferred whether it is so for
    /// their sake alone, since what is enforced allows it.
    pub audit_denies: bool,
    /// The rule that decided, a number of the set or one of [`rule`].
    pub rule: u16,
    /// The rule that decided with Audit policies counted in.
    pub audit_rule: u16,
    /// A [`Mtls`], of the deciding rule.
    pub mtls: u8,
}

impl Verdict {
    const ALLOW_ALL: Self = Self {
        allowed: true,
        deferred: false,
        audit_denies: false,
        rule: rule::DEFAULT,
        audit_rule: rule::DEFAULT,
        mtls: Mtls::Preferred as u8,
    };
}

/// Decides `question` by the policy set `set`. A set whose keys are missing denies.
#[inline(always)]
pub fn decide<R: Rulings>(rulings: &R, set: SetId, question: &Question) -> Verdict {
    if set == SetId::EMPTY {
        return Verdict::ALLOW_ALL;
    }
    let (kind, cidr_kind, pair_kind, group) = match question.peer {
        Peer::Proven(group) => (Kind::Proven, Kind::CidrProven, Kind::PairProven, group),
        Peer::Claimed(group) => (Kind::Claimed, Kind::CidrUnproven, Kind::PairUnproven, group),
        Peer::Unknown => (Kind::Unknown, Kind::CidrUnproven, Kind::PairUnproven, 0),
    };
    let mut key = RulingKey::new(set, kind, group, question.protocol, question.port);
    let mut found = rulings.ruling(&key);
    if found.is_none() && group != 0 {
        key.peer = [0; 8];
        found = rulings.ruling(&key);
    }
    let Some(base) = found else {
        return Verdict {
            allowed: false,
            deferred: false,
            audit_denies: false,
            rule: rule::MISSING,
            audit_rule: rule::MISSING,
            mtls: 0,
        };
    };
    let mut enforced = base.enforced;
    let mut audited = base.audited;
    if set.uses_cidrs()
        && let Some(cidr) = rulings.cidr(&CidrKey::new(set, &question.address))
    {
        key.kind = cidr_kind as u8;
        key.peer = cidr.to_ne_bytes();
        if let Some(ruling) = rulings.ruling(&key) {
            enforced = enforced.first(ruling.enforced);
            audited = audited.first(ruling.audited);
        }
        if set.uses_pairs() {
            key.kind = pair_kind as u8;
            key.peer = pair(group, cidr).to_ne_bytes();
            if let Some(ruling) = rulings.ruling(&key) {
                enforced = enforced.first(ruling.enforced);
                audited = audited.first(ruling.audited);
            }
        }
    }
    let hit = enforced.decides();
    let audit = audited.decides();
    let passes = hit.action == Action::Allow as u8;
    // What only an audited rule would look into is looked into as well: nothing else could count it.
    let deferred = hit.action == Action::Defer as u8 || (passes && audit.action == Action::Defer as u8);
    let allowed = passes && !deferred;
    Verdict {
        allowed,
        deferred,
        audit_denies: passes && audit.action != Action::Allow as u8,
        rule: hit.rule,
        audit_rule: audit.rule,
        mtls: hit.mtls,
    }
}
