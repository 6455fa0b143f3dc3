//! The worker's copy of a set decides as the kernel's tries would.

use std::collections::{BTreeMap, HashMap};

use mesh_ebpf::abi::TCP;
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{CidrKey, Direction, Peer, Question, Ruling, RulingKey, Rulings, decide, rule};
use proptest::prelude::*;

use super::Set;
use crate::handover::PolicySet;
use crate::relay::compile::{compile, denies_all};
use crate::relay::resource::{Action, Cidr, DirectionPolicy, Entry, Mtls, PortRange, Protocol, Rule, Tier};

/// The kernel's tries, by length and bit string, keys whole as on the map's boundary.
struct Tries {
    rulings: BTreeMap<u32, HashMap<String, Ruling>>,
    cidrs: BTreeMap<u32, HashMap<String, u64>>,
}

impl Tries {
    fn load(set: &PolicySet) -> Self {
        let mut tries = Self { rulings: BTreeMap::new(), cidrs: BTreeMap::new() };
        for (length, key, value) in &set.rulings {
            let prefix = bits(&ruling_bytes(key))[..*length as usize].to_owned();
            tries.rulings.entry(*length).or_default().insert(prefix, *value);
        }
        for (length, key, value) in &set.cidrs {
            let prefix = bits(&cidr_bytes(key))[..*length as usize].to_owned();
            tries.cidrs.entry(*length).or_default().insert(prefix, *value);
        }
        tries
    }
}

fn bits(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:08b}")).collect()
}

fn ruling_bytes(key: &RulingKey) -> Vec<u8> {
    [&key.set[..], &key.peer, &[key.kind, key.protocol], &key.port].concat()
}

fn cidr_bytes(key: &CidrKey) -> Vec<u8> {
    [&key.set[..], &key.address].concat()
}

fn longest<V: Copy>(trie: &BTreeMap<u32, HashMap<String, V>>, key: &str) -> Option<V> {
    trie.iter().rev().find_map(|(length, table)| table.get(&key[..*length as usize]).copied())
}

impl Rulings for Tries {
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        longest(&self.rulings, &bits(&ruling_bytes(key)))
    }

    fn cidr(&self, key: &CidrKey) -> Option<u64> {
        longest(&self.cidrs, &bits(&cidr_bytes(key)))
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let groups =
        || prop::collection::btree_set(1..5u64, 0..3).prop_map(|groups| groups.into_iter().collect());
    let cidrs = || prop::collection::vec(cidr(), 1..3);
    prop_oneof![
        groups().prop_map(Entry::Groups),
        cidrs().prop_map(Entry::Cidrs),
        (groups(), cidrs()).prop_map(|(groups, cidrs)| Entry::Both(groups, cidrs)),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    let around = |(last, length): (u8, u32)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let address = std::net::Ipv4Addr::from(u32::from_be_bytes([10, 0, 0, last]) & mask);
        Cidr::new(address.into(), length).expect("the host bits are 0")
    };
    (0..8u8, 0..=32u32).prop_map(around)
}

fn rule() -> impl Strategy<Value = Rule> {
    let ports = prop::collection::vec((1..12u16, 0..5u16), 0..3);
    (any::<bool>(), prop::collection::vec(entry(), 0..3), ports, any::<bool>()).prop_map(
        |(deny, peers, ports, audit)| Rule {
            tier: Tier::Access,
            action: if deny { Action::Deny } else { Action::Allow },
            audit,
            policy: "AccessPolicy/bank/vault".into(),
            name: "r".into(),
            peers,
            ports: ports
                .into_iter()
                .map(|(first, more)| PortRange { protocol: Protocol::Tcp, first, last: first + more })
                .collect(),
            mtls: Mtls::Preferred,
            requests: mesh_l7::access::rule::Requests::All,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_decides_as_the_tries_do(
        mut rules in prop::collection::vec(rule(), 0..6),
        isolated: bool,
        default_deny: bool,
        questions in prop::collection::vec((0..6u64, 0..10u8, 0..18u16), 20),
    ) {
        rules.sort_by_key(|rule| rule.action != Action::Deny);
        let policy = DirectionPolicy { rules, isolated, default_deny, ..DirectionPolicy::default() };
        let compiled = compile(Direction::Ingress, &policy).unwrap();
        let (set, tries) = (Set::new(&compiled), Tries::load(&compiled));
        for (group, last, port) in questions {
            let address = Address::v4([10, 0, 0, last]);
            for peer in [Peer::Proven(group), Peer::Claimed(group), Peer::Unknown] {
                let question = Question { peer, address, protocol: TCP, port };
                prop_assert_eq!(set.decide(&question), decide(&tries, compiled.id, &question));
            }
        }
    }
}

#[test]
fn what_is_missing_denies_and_rules_have_names() {
    let question =
        Question { peer: Peer::Proven(7), address: Address::v4([10, 0, 0, 1]), protocol: TCP, port: 80 };
    let missing = Set::new(&denies_all()).decide(&question);
    assert_eq!((missing.allowed, missing.rule), (false, rule::MISSING));
    assert!(Set::empty().decide(&question).allowed);
    let set = Set::new(&PolicySet {
        rules: vec![("AccessPolicy/bank/vault".into(), "tellers".into()), ("P".into(), "(no rule)".into())],
        ..denies_all()
    });
    assert_eq!(set.rule(0), Some(("AccessPolicy/bank/vault", "tellers")));
    assert_eq!(set.rule(rule::ISOLATED), Some(("P", "(no rule)")));
    assert_eq!(set.rule(rule::DEFAULT), None);
}
