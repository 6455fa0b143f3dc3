//! Which addresses a testbed hands out. Everything lives in namespaces of its own, so overlapping would harm nobody;
//! still every testbed has a slot of its own, so that a capture or a log line tells which one it is from.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// How many testbeds can be told apart.
pub const SLOTS: u8 = 200;

/// The slot of the cluster with a real Kubernetes, which no testbed has.
pub const CLUSTER_SLOT: u8 = SLOTS;

/// How many nodes a testbed can have.
pub const NODES: u8 = 200;

/// Begins every IPv6 address: `mesh` in ASCII within fd00::/8, so `fd6d:6573:68` and a byte for the slot.
const IPV6_PREFIX: [u16; 2] = [0xfd6d, 0x6573];

/// One address of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

impl Pair {
    /// Both, IPv4 first.
    #[must_use]
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// The addresses of one testbed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Plan {
    slot: u8,
}

/// Last byte of the pool of Service addresses' third byte; nodes come before it.
const SERVICES: u8 = 224;
const FABRIC: u8 = 254;
const LINK: u8 = 253;

impl Plan {
    /// The plan of a slot below [`SLOTS`], or of [`CLUSTER_SLOT`].
    #[must_use]
    pub fn new(slot: u8) -> Self {
        Self { slot }
    }

    /// The network that the nodes are joined by; `node` counts from 1 to [`NODES`].
    #[must_use]
    pub fn node(self, node: u8) -> Pair {
        Pair { v4: self.v4(FABRIC, node), v6: self.v6(0xffff, node.into()) }
    }

    /// Where the nodes' default routes lead: to the fabric, which says that nothing is beyond.
    #[must_use]
    pub fn beyond(self) -> Pair {
        self.node(254)
    }

    /// The ends of the link between the fabric and this machine, where there is one: the machine's, the fabric's.
    #[must_use]
    pub fn link(self) -> [Pair; 2] {
        [1, 2].map(|end| Pair { v4: self.v4(LINK, end), v6: self.v6(0xfffe, end.into()) })
    }

    /// The range of everything.
    #[must_use]
    pub fn whole(self) -> (Ipv4Net, Ipv6Net) {
        (Ipv4Net::new_assert(self.v4(0, 0), 16), Ipv6Net::new_assert(self.v6(0, 0), 48))
    }

    /// The range of all pods of nodes below 128.
    #[must_use]
    pub fn all_pods(self) -> (Ipv4Net, Ipv6Net) {
        (Ipv4Net::new_assert(self.v4(0, 0), 17), Ipv6Net::new_assert(self.v6(0, 0), 49))
    }

    /// The range of Service addresses.
    #[must_use]
    pub fn services(self) -> (Ipv4Net, Ipv6Net) {
        (Ipv4Net::new_assert(self.v4(SERVICES, 0), 20), Ipv6Net::new_assert(self.v6(0xfff0, 0), 112))
    }

    /// The range of a node's pods.
    #[must_use]
    pub fn pods(self, node: u8) -> (Ipv4Net, Ipv6Net) {
        let (v4, v6) = (self.v4(node, 0), self.v6(node.into(), 0));
        (Ipv4Net::new_assert(v4, 24), Ipv6Net::new_assert(v6, 64))
    }

    /// The gateway of a node's pods.
    #[must_use]
    pub fn gateway(self, node: u8) -> Pair {
        self.pod(node, 1)
    }

    /// The pod address with this number, 2 to 254.
    #[must_use]
    pub fn pod(self, node: u8, number: u8) -> Pair {
        Pair { v4: self.v4(node, number), v6: self.v6(node.into(), number.into()) }
    }

    /// The Service address with this number, below 4096.
    #[must_use]
    pub fn service(self, number: u16) -> Pair {
        let [high, low] = (number & 0x0fff).to_be_bytes();
        Pair { v4: self.v4(SERVICES + high, low), v6: self.v6(0xfff0, number) }
    }

    /// The cluster DNS Service's address.
    #[must_use]
    pub fn dns(self) -> Pair {
        self.service(10)
    }

    fn v4(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 16 + self.slot, third, fourth)
    }

    fn v6(self, subnet: u16, host: u16) -> Ipv6Addr {
        let [first, second] = IPV6_PREFIX;
        Ipv6Addr::new(first, second, 0x6800 | u16::from(self.slot), subnet, 0, 0, 0, host)
    }
}

/// Numbers handed out in turn: one that was given back is used again as late as possible, so that a test sees no
/// address twice for a while.
#[derive(Debug)]
pub struct Numbers {
    first: u16,
    last: u16,
    next: u16,
    used: BTreeSet<u16>,
}

impl Numbers {
    /// The numbers from `first` to `last`.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Self {
        Self { first, last, next: first, used: BTreeSet::new() }
    }

    /// A free number, or `None` if all are in use.
    pub fn take(&mut self) -> Option<u16> {
        let free = (self.next..=self.last)
            .chain(self.first..self.next)
            .find(|number| !self.used.contains(number))?;
        self.next = if free == self.last { self.first } else { free + 1 };
        self.used.insert(free);
        Some(free)
    }

    /// Marks a number as in use; says whether it was free.
    pub fn reserve(&mut self, number: u16) -> bool {
        self.used.insert(number)
    }

    /// Gives a number back.
    pub fn release(&mut self, number: u16) {
        self.used.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap() {
        let plan = Plan::new(SLOTS - 1);
        assert_eq!(plan.pod(1, 2).v4, Ipv4Addr::new(10, 215, 1, 2));
        assert!(!plan.pods(NODES).0.contains(&plan.service(0).v4));
        assert!(plan.service(4095).v4 < plan.node(1).v4);
        assert_eq!(plan.dns().v6.to_string(), "fd6d:6573:68c7:fff0::a");
    }

    #[test]
    fn a_number_given_back_is_used_last() {
        let mut numbers = Numbers::new(2, 4);
        assert_eq!((numbers.take(), numbers.take()), (Some(2), Some(3)));
        numbers.release(2);
        assert_eq!((numbers.take(), numbers.take(), numbers.take()), (Some(4), Some(2), None));
    }
}
