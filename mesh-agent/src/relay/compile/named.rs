//! What the entries of rules name: anyone, groups, addresses.

use std::collections::{BTreeMap, BTreeSet};

use crate::relay::resource::{Cidr, Entry, Rule};

/// What entries of rules name.
#[derive(Default)]
pub(super) struct Named {
    /// Rules about anyone.
    pub anyone: BTreeSet<usize>,
    /// By group: the rules that name it without an address.
    pub groups: BTreeMap<u64, BTreeSet<usize>>,
    /// Every rule that names identities without an address, also where no pod has them now.
    pub identities: BTreeSet<usize>,
    /// By CIDR.
    pub cidrs: BTreeMap<Cidr, BTreeSet<Held>>,
}

/// What holds within a CIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    /// A rule by address alone.
    Rule(usize),
    /// A rule at this port of an endpoint.
    Endpoint(usize, u16),
    /// A rule whose entry (by index) also asks for a group.
    Pair(usize, usize),
}

impl Named {
    /// Reads the rules.
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut named = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            if rule.peers.is_empty() {
                named.anyone.insert(index);
            }
            for (entry, peer) in rule.peers.iter().enumerate() {
                match peer {
                    Entry::Groups(groups) => {
                        named.identities.insert(index);
                        for &group in groups {
                            named.groups.entry(group).or_default().insert(index);
                        }
                    }
                    Entry::Cidrs(cidrs) => {
                        for &cidr in cidrs {
                            named.cidrs.entry(cidr).or_default().insert(Held::Rule(index));
                        }
                    }
                    Entry::Both(_, cidrs) => {
                        for &cidr in cidrs {
                            named.cidrs.entry(cidr).or_default().insert(Held::Pair(index, entry));
                        }
                    }
                    Entry::Endpoints(endpoints) => {
                        for &(address, port) in endpoints {
                            let host = Cidr::host(address);
                            named.cidrs.entry(host).or_default().insert(Held::Endpoint(index, port));
                        }
                    }
                }
            }
        }
        named
    }
}

impl Held {
    /// Its rule.
    pub(super) const fn rule(self) -> usize {
        match self {
            Self::Rule(rule) | Self::Endpoint(rule, _) | Self::Pair(rule, _) => rule,
        }
    }
}
