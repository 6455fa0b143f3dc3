//! The keys of compiled policy.

use crate::address::Address;

/// Names a compiled policy set: the hash of its content, its low bits telling what it uses.
/// 0 is the empty set, which allows everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SetId(pub u64);

impl SetId {
    /// The set that allows everything.
    pub const EMPTY: Self = Self(0);
    const CIDRS: u64 = 1;
    const PAIRS: u64 = 2;
    const CONTENT: u64 = !0xf;
    const NEVER_EMPTY: u64 = 4;

    /// A set of the given content hash.
    #[must_use]
    pub const fn new(content: u64, uses_cidrs: bool, uses_pairs: bool) -> Self {
        let mut id = content & Self::CONTENT | Self::NEVER_EMPTY;
        if uses_cidrs {
            id |= Self::CIDRS;
        }
        if uses_pairs {
            id |= Self::PAIRS;
        }
        Self(id)
    }

    /// Whether some rule of it names CIDRs.
    #[inline(always)]
    #[must_use]
    pub const fn uses_cidrs(self) -> bool {
        self.0 & Self::CIDRS != 0
    }

    /// Whether some rule of it asks for a group and a CIDR at once.
    #[inline(always)]
    #[must_use]
    pub const fn uses_pairs(self) -> bool {
        self.0 & Self::PAIRS != 0
    }
}

/// Which way a connection goes, seen from the pod whose policy is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Direction {
    /// Into the pod.
    Ingress = 0,
    /// Out of the pod.
    Egress = 1,
}

/// What is known of the peer, and which keys that selects. On egress the destination is selected
/// by address only, and counts as [`Kind::Proven`] (SEMANTICS 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The group is proven.
    Proven = 1,
    /// Unproven, from an address that discovery knows as a pod of that group.
    Claimed = 2,
    /// Unproven, from an address nobody knows; the group is always 0.
    Unknown = 3,
    /// CIDR keys for proven peers.
    CidrProven = 4,
    /// CIDR keys for unproven peers.
    CidrUnproven = 5,
    /// Keys of (group, CIDR) pairs for proven peers.
    PairProven = 6,
    /// Keys of (group, CIDR) pairs for unproven peers; the group 0 stands for an unknown address.
    PairUnproven = 7,
}

/// Data of a key of the trie `mesh_rulings`; `port` is matched by prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RulingKey {
    /// [`SetId`], native byte order.
    pub set: [u8; 8],
    /// Group, CIDR number or pair, native byte order.
    pub peer: [u8; 8],
    /// A [`Kind`].
    pub kind: u8,
    /// IP protocol: TCP, UDP, or 0 for any other.
    pub protocol: u8,
    /// Port, big endian.
    pub port: [u8; 2],
}

impl RulingKey {
    /// Bits before the port, the shortest prefix a key may have.
    pub const PREFIX_BITS: u32 = 144;
    /// Bits of a key with its whole port.
    pub const BITS: u32 = 160;

    /// The key of one peer and port.
    #[inline(always)]
    #[must_use]
    pub const fn new(set: SetId, kind: Kind, peer: u64, protocol: u8, port: u16) -> Self {
        Self {
            set: set.0.to_ne_bytes(),
            peer: peer.to_ne_bytes(),
            kind: kind as u8,
            protocol,
            port: port.to_be_bytes(),
        }
    }
}

/// Data of a key of the trie `mesh_cidrs`, whose value is the number of the CIDR in the set;
/// `address` is matched by prefix (an IPv4 prefix of `n` bits is one of `96 + n`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CidrKey {
    /// [`SetId`], native byte order.
    pub set: [u8; 8],
    /// The address.
    pub address: [u8; 16],
}

impl CidrKey {
    /// Bits before the address.
    pub const PREFIX_BITS: u32 = 64;
    /// Bits of a key with its whole address.
    pub const BITS: u32 = 192;

    /// The key of one address.
    #[inline(always)]
    #[must_use]
    pub const fn new(set: SetId, address: &Address) -> Self {
        Self { set: set.0.to_ne_bytes(), address: address.0 }
    }
}

/// The number of the pair (group, CIDR), as `peer` of a key.
#[inline(always)]
#[must_use]
pub const fn pair(group: u64, cidr: u64) -> u64 {
    // Injective for a fixed CIDR, and a set has fewer than 2^32 CIDRs: groups are 64-bit hashes,
    // so two pairs meet with the probability that two hashes do.
    group ^ cidr.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
