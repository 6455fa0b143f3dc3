//! Address ranges, one form for both families.

use std::fmt;
use std::net::IpAddr;

use mesh_ebpf::address::Address;

/// A CIDR in the kernel's 16-byte space: IPv4 `a.b.c.d/n` is `::ffff:a.b.c.d/(96+n)`. Host bits
/// are zero. An IPv6 range never contains an IPv4 one (SEMANTICS 2.5 for the other way round).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cidr {
    bits: u128,
    length: u8,
    v4: bool,
}

impl Cidr {
    /// Every IPv4 address.
    pub(crate) const V4_ROOT: Self = Self { bits: 0xffff_0000_0000, length: 96, v4: true };

    /// The range of the first `length` bits of `address`; `None` when it has fewer.
    /// Bits after them are ignored. A v4-mapped range is the IPv4 range.
    pub(crate) fn new(address: IpAddr, length: u32) -> Option<Self> {
        let (v4, length) = match address {
            IpAddr::V4(_) if length <= 32 => (true, length + 96),
            IpAddr::V6(v6) if length <= 128 => (length >= 96 && v6.to_ipv4_mapped().is_some(), length),
            _ => return None,
        };
        let bits = u128::from_be_bytes(Address::from(address).0) & mask(length);
        Some(Self { bits, length: u8::try_from(length).ok()?, v4 })
    }

    /// The range of one address.
    pub(crate) fn host(address: IpAddr) -> Self {
        let address = Address::from(address);
        Self { bits: u128::from_be_bytes(address.0), length: 128, v4: address.is_v4() }
    }

    /// Whether every address of `other` is one of its own.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.v4 == other.v4 && self.covers(other)
    }

    /// Whether its bits are a prefix of the bits of `other`, whatever the families: what a trie
    /// of 16-byte addresses would find.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && other.bits & mask(u32::from(self.length)) == self.bits
    }

    /// Whether it is an IPv4 range.
    pub(crate) const fn is_v4(&self) -> bool {
        self.v4
    }

    /// Its address in the kernel's form.
    pub(crate) const fn address(&self) -> Address {
        Address(self.bits.to_be_bytes())
    }

    /// Its length within 128 bits.
    pub(crate) const fn length(&self) -> u32 {
        self.length as u32
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = if self.v4 { self.length - 96 } else { self.length };
        write!(f, "{}/{own}", self.address())
    }
}

const fn mask(length: u32) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - length) }
}
