//! The CIDRs of a set: numbered, each with the rules of every CIDR around it.
//!
//! A decision finds the most specific CIDR around an address and reads only that one's keys, so
//! its keys must hold what the wider ones say as well.

use std::collections::{BTreeMap, BTreeSet};

use crate::relay::resource::Cidr;

/// The numbered CIDRs of a set.
#[derive(Debug)]
pub(super) struct Ranges<T> {
    /// By number minus 1: the CIDR and everything that holds within it, in order.
    numbered: Vec<(Cidr, BTreeSet<T>)>,
}

impl<T: Clone + Ord> Ranges<T> {
    /// Numbers the CIDRs of `own`, which says what each was named for.
    pub(super) fn new(mut own: BTreeMap<Cidr, BTreeSet<T>>) -> Self {
        // A trie of 16-byte addresses would find `::/0` for an IPv4 address: a root for IPv4
        // below it stops that (SEMANTICS 2.5 keeps the families apart).
        if own.keys().any(|cidr| !cidr.is_v4() && cidr.covers(&Cidr::V4_ROOT)) {
            own.entry(Cidr::V4_ROOT).or_default();
        }
        let mut numbered: Vec<(Cidr, BTreeSet<T>)> = Vec::with_capacity(own.len());
        // Sorted by address and then length, every CIDR comes after those around it.
        let mut around: Vec<usize> = Vec::new();
        for (cidr, mut holds) in own {
            while around.last().is_some_and(|&index| !numbered[index].0.covers(&cidr)) {
                around.pop();
            }
            if let Some(&parent) = around.last()
                && numbered[parent].0.contains(&cidr)
            {
                holds.extend(numbered[parent].1.iter().cloned());
            }
            around.push(numbered.len());
            numbered.push((cidr, holds));
        }
        Self { numbered }
    }

    /// Number, CIDR, and what holds within it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Cidr, &BTreeSet<T>)> {
        self.numbered.iter().zip(1..).map(|((cidr, holds), number)| (number, cidr, holds))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.numbered.is_empty()
    }
}
