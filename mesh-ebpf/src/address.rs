//! One form for every address: 16 bytes, IPv4 as v4-mapped (RFC 4291, 2.5.5.2).

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`, in network byte order. Aligned so that
/// the kernel programs copy and compare it by words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(C, align(4))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// `::`, which also stands for "no address".
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// An IPv4 address from its four bytes in network order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// From the `__be32` words that kernel contexts hold, each in network order in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let a = words[0].to_ne_bytes();
        let b = words[1].to_ne_bytes();
        let c = words[2].to_ne_bytes();
        let d = words[3].to_ne_bytes();
        Self([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]])
    }

    /// From one `__be32` of an IPv4 context.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self::v4(word.to_ne_bytes())
    }

    /// The four `__be32` words of the address.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        let b = &self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// Whether both are the same address; `==` without the call to `memcmp` that a BPF program
    /// cannot make.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        let (a, b) = (self.words(), other.words());
        a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3]
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let words = self.words();
        words[0] == 0 && words[1] == 0 && words[2] == u32::from_be(0x0000_ffff)
    }

    /// `0.0.0.0` or `::`, which a socket that dials it takes for itself.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        let words = self.words();
        words[0] == 0
            && words[1] == 0
            && words[3] == 0
            && (words[2] == 0 || words[2] == u32::from_be(0x0000_ffff))
    }

    /// `127.0.0.0/8` or `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            return self.0[12] == 127;
        }
        let words = self.words();
        words[0] == 0 && words[1] == 0 && words[2] == 0 && words[3] == u32::from_be(1)
    }

    /// An address that stands for a pod's outbound listener: within the pod every one of
    /// `127.64.0.0/10` and `fdc7:3ab1:5e20::/64` is its own, so that ports do not run out. The
    /// slot keeps the tuples of pods apart, the lowest 10 bits of `random` those of connections.
    #[inline(always)]
    #[must_use]
    pub const fn redirect(v4: bool, slot: u32, random: u32) -> Self {
        let low = ((slot & 0xfff) << 10 | random & 0x3ff).to_be_bytes();
        if v4 {
            return Self::v4([127, 64 | low[1], low[2], low[3]]);
        }
        Self([0xfd, 0xc7, 0x3a, 0xb1, 0x5e, 0x20, 0, 0, 0, 0, 0, 1, 0, low[1], low[2], low[3]])
    }

    /// Whether it may have come from [`Address::redirect`].
    #[inline(always)]
    #[must_use]
    pub const fn is_redirect(&self) -> bool {
        if self.is_v4() {
            return self.0[12] == 127 && self.0[13] & 0xc0 == 64;
        }
        let words = self.words();
        words[0] == u32::from_be(0xfdc7_3ab1) && words[1] == u32::from_be(0x5e20_0000)
    }

    /// `fe80::/10`.
    #[inline(always)]
    #[must_use]
    pub const fn is_link_local_v6(&self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// `224.0.0.0/4`, `255.255.255.255` or `ff00::/8`.
    #[inline(always)]
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        if self.is_v4() {
            return self.0[12] >= 224;
        }
        self.0[0] == 0xff
    }
}

/// Length of the IPv6 prefix of [`Address::redirect`], which wire makes local in every pod.
pub const REDIRECT_V6_PREFIX: u8 = 64;

#[cfg(any(test, feature = "user"))]
mod host {
    use super::Address;
    use std::net::{IpAddr, Ipv6Addr};

    impl From<IpAddr> for Address {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(v4) => Self::v4(v4.octets()),
                IpAddr::V6(v6) => Self(v6.octets()),
            }
        }
    }

    impl From<Address> for IpAddr {
        fn from(address: Address) -> Self {
            Ipv6Addr::from(address.0).to_canonical()
        }
    }

    impl std::fmt::Display for Address {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            IpAddr::from(*self).fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, REDIRECT_V6_PREFIX};
    use crate::abi::capacity;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const RANGE_V4: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);
    const RANGE_V6: Ipv6Addr = Ipv6Addr::new(0xfdc7, 0x3ab1, 0x5e20, 0, 0, 0, 0, 0);

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(ip: IpAddr) {
            let address = Address::from(ip);
            let back = IpAddr::from(address);
            prop_assert_eq!(back, ip.to_canonical());
            prop_assert_eq!(address.is_loopback(), back.is_loopback());
            prop_assert_eq!(address.is_unspecified(), back.is_unspecified());
            prop_assert_eq!(address.is_v4(), back.is_ipv4());
            prop_assert_eq!(Address::from_words(address.words()), address);
        }
    }

    proptest! {
        #[test]
        fn a_redirect_is_known_again_and_local_to_its_pod(v4: bool, slot in 0..capacity::PODS, random: u32) {
            let address = Address::redirect(v4, slot, random);
            prop_assert!(address.is_redirect());
            prop_assert_eq!(address.is_v4(), v4);
            prop_assert!(!address.is_unspecified());
            match IpAddr::from(address) {
                IpAddr::V4(ip) => prop_assert_eq!(u32::from(ip) >> 22, u32::from(RANGE_V4) >> 22),
                IpAddr::V6(ip) => {
                    let host = 128 - u32::from(REDIRECT_V6_PREFIX);
                    prop_assert_eq!(u128::from(ip) >> host, u128::from(RANGE_V6) >> host);
                }
            }
        }

        #[test]
        fn redirects_of_two_pods_or_of_two_spreads_differ(
            v4: bool,
            one in (0..capacity::PODS, 0u32..1024),
            other in (0..capacity::PODS, 0u32..1024),
        ) {
            let (a, b) = (Address::redirect(v4, one.0, one.1), Address::redirect(v4, other.0, other.1));
            prop_assert_eq!(a == b, one == other);
        }

        #[test]
        fn only_the_two_ranges_are_redirects(ip: IpAddr) {
            let within = match ip.to_canonical() {
                IpAddr::V4(ip) => u32::from(ip) >> 22 == u32::from(RANGE_V4) >> 22,
                IpAddr::V6(ip) => u128::from(ip) >> 64 == u128::from(RANGE_V6) >> 64,
            };
            prop_assert_eq!(Address::from(ip).is_redirect(), within);
        }
    }

    #[test]
    fn the_ends_of_the_ranges_and_their_neighbours() {
        for (text, redirect) in [
            ("127.63.255.255", false),
            ("127.64.0.0", true),
            ("127.127.255.255", true),
            ("127.128.0.0", false),
            ("127.0.0.1", false),
            ("10.64.0.1", false),
            ("fdc7:3ab1:5e20::", true),
            ("fdc7:3ab1:5e20:0:ffff:ffff:ffff:ffff", true),
            ("fdc7:3ab1:5e20:1::", false),
            ("fdc7:3ab1:5e1f:ffff::", false),
            ("::1", false),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Address::from(ip).is_redirect(), redirect, "{text}");
        }
    }

    #[test]
    fn loopback_and_unspecified_are_told_apart() {
        for (text, loopback, unspecified) in [
            ("127.0.0.1", true, false),
            ("127.255.0.9", true, false),
            ("::1", true, false),
            ("::", false, true),
            ("0.0.0.0", false, true),
            ("::2", false, false),
            ("10.0.0.1", false, false),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            let address = Address::from(ip);
            assert_eq!(address.is_loopback(), loopback, "{text}");
            assert_eq!(address.is_unspecified(), unspecified, "{text}");
        }
    }
}
