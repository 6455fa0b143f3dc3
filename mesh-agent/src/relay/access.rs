//! The ingress verdict on connections that come through the tunnel, over relay's own copy of the
//! compiled sets.
//!
//! The kernel's gate lets every tunnel in; what is inside is judged here by the same
//! [`decide`](fn@mesh_ebpf::policy::decide), so that the two cannot disagree on a policy. A [`Set`] is
//! what the kernel holds in its tries, as sorted slices: it is built once per policy, shared by the
//! workers, and asked once per connection (a few binary searches).

mod prefixes;
mod rules;
#[cfg(test)]
mod tests;

use mesh_ebpf::policy::{CidrKey, Question, Ruling, RulingKey, Rulings, SetId, Verdict, decide, rule};

use crate::handover::PolicySet;
use prefixes::Prefixes;
pub(crate) use rules::{PodRules, Rules};

/// Bytes of a key before what the tries match by prefix: the set's own name.
const NAME: u32 = 64;

/// A compiled set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Set {
    id: SetId,
    /// By peer, kind, protocol and port.
    rulings: Prefixes<12, Ruling>,
    /// By address.
    cidrs: Prefixes<16, u64>,
    /// By rule number: policy and name.
    rules: Vec<(String, String)>,
}

impl Set {
    /// The same set as the kernel's.
    pub(crate) fn new(set: &PolicySet) -> Self {
        let bits = |length: u32| length.saturating_sub(NAME);
        let rulings = set.rulings.iter().map(|(length, key, ruling)| (bits(*length), flat(key), *ruling));
        let cidrs = set.cidrs.iter().map(|(length, key, number)| (bits(*length), key.address, *number));
        Self {
            id: set.id,
            rulings: Prefixes::new(rulings),
            cidrs: Prefixes::new(cidrs),
            rules: set.rules.clone(),
        }
    }

    /// The set that allows everything.
    pub(crate) fn empty() -> Self {
        Self { id: SetId::EMPTY, rulings: Prefixes::default(), cidrs: Prefixes::default(), rules: Vec::new() }
    }

    /// Its name.
    pub(crate) fn id(&self) -> SetId {
        self.id
    }

    /// Decides a question.
    pub(crate) fn decide(&self, question: &Question) -> Verdict {
        decide(self, self.id, question)
    }

    /// Policy and rule by number, for a refusal's text; `None` when no policy decided.
    pub(crate) fn rule(&self, number: u16) -> Option<(&str, &str)> {
        let row = match number {
            rule::ISOLATED => self.rules.last(),
            number => self.rules.get(usize::from(number)),
        };
        row.map(|(policy, rule)| (policy.as_str(), rule.as_str()))
    }
}

impl Rulings for Set {
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        self.rulings.longest(&flat(key)).copied()
    }

    fn cidr(&self, key: &CidrKey) -> Option<u64> {
        self.cidrs.longest(&key.address).copied()
    }
}

fn flat(key: &RulingKey) -> [u8; 12] {
    let mut flat = [0; 12];
    flat[..8].copy_from_slice(&key.peer);
    flat[8] = key.kind;
    flat[9] = key.protocol;
    flat[10..].copy_from_slice(&key.port);
    flat
}
