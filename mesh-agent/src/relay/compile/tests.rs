//! Compiled sets decide what the policy says: checked against an oracle that reads the policy as
//! it came, rule by rule, and shares no code with the compiler.

mod oracle;
mod random;
mod services;

use std::collections::{BTreeMap, HashMap};

use std::sync::Arc;

use mesh_ebpf::policy::{
    CidrKey, Direction, Peer, Question, Ruling, RulingKey, Rulings, SetId, Verdict, decide, rule,
};
use mesh_l7::access::rule::{GrpcRule, Requests};
use mesh_l7::access::{AtConnect, Connection, Decider};
use proptest::prelude::*;

use super::policy::{CompileError, ENTRY_LIMIT};
use super::{compile, denies_all};
use crate::handover::PolicySet;
use crate::relay::access::Rules;
use crate::relay::resource::{
    Action, Cidr, DirectionPolicy, Entry, Mtls, Protocol, Rule, Tier, parse_direction,
};

/// A longest-prefix table: by prefix length, the bits of the prefix and the value.
struct Table<V>(BTreeMap<u32, HashMap<Vec<u8>, V>>);

impl<V: Copy> Table<V> {
    fn new(entries: impl Iterator<Item = (u32, Vec<u8>, V)>) -> Self {
        let mut table: BTreeMap<u32, HashMap<Vec<u8>, V>> = BTreeMap::new();
        for (length, key, value) in entries {
            let known = table.entry(length).or_default().insert(prefix(&key, length), value);
            assert!(known.is_none(), "two entries for one prefix");
        }
        Self(table)
    }

    fn longest(&self, key: &[u8]) -> Option<V> {
        let by_length = self.0.iter().rev();
        by_length.filter_map(|(&length, table)| table.get(&prefix(key, length))).next().copied()
    }
}

fn prefix(key: &[u8], length: u32) -> Vec<u8> {
    let kept = |at: usize| (length as usize).saturating_sub(at * 8).min(8);
    key.iter().enumerate().map(|(at, byte)| byte & !(0xff_u32 >> kept(at)) as u8).collect()
}

/// A set as the kernel's tries would hold it.
struct Loaded {
    rulings: Table<Ruling>,
    cidrs: Table<u64>,
}

impl Loaded {
    fn new(set: &PolicySet) -> Self {
        let rulings = set.rulings.iter().map(|(length, key, value)| (*length, bytes_of(key), *value));
        let cidrs = set.cidrs.iter().map(|(length, key, value)| (*length, cidr_bytes(key), *value));
        Self { rulings: Table::new(rulings), cidrs: Table::new(cidrs) }
    }
}

fn bytes_of(key: &RulingKey) -> Vec<u8> {
    [&key.set[..], &key.peer, &[key.kind, key.protocol], &key.port].concat()
}

fn cidr_bytes(key: &CidrKey) -> Vec<u8> {
    [&key.set[..], &key.address].concat()
}

impl Rulings for Loaded {
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        self.rulings.longest(&bytes_of(key))
    }

    fn cidr(&self, key: &CidrKey) -> Option<u64> {
        self.cidrs.longest(&cidr_bytes(key))
    }
}

fn agrees(direction: Direction, case: random::Case) -> Result<(), TestCaseError> {
    let parsed = parse_direction(case.policy.clone());
    prop_assert!(parsed.is_ok(), "{parsed:?}");
    let parsed = Arc::new(parsed.unwrap());
    let set = compile(direction, &parsed).unwrap();
    let rules = Rules::new(direction, &parsed);
    let loaded = Loaded::new(&set);
    for question in &case.questions {
        let expected = oracle::decide(direction, &case.policy, question);
        let found = decide(&loaded, set.id, question);
        prop_assert_eq!(found.allowed, expected.allowed, "{:?}", question);
        prop_assert_eq!(found.deferred, expected.deferred, "{:?}", question);
        prop_assert_eq!(found.audit_denies, expected.audit_denies, "{:?}", question);
        if set.id != SetId::EMPTY {
            prop_assert_eq!(found.rule, expected.rule, "{:?}", question);
            prop_assert_eq!(found.audit_rule, expected.audit_rule, "{:?}", question);
            prop_assert_eq!(found.mtls, expected.mtls, "{:?}", question);
        }
        if question.protocol == mesh_ebpf::abi::TCP && !found.deferred {
            by_request_it_is_the_same(&rules.connection(question), &found)?;
        }
    }
    Ok(())
}

/// What the set decides, the engine would decide without any request, and by the same rule.
fn by_request_it_is_the_same(connection: &Connection, found: &Verdict) -> Result<(), TestCaseError> {
    let AtConnect::Decided(verdict) = connection.at_connect() else {
        return Err(TestCaseError::fail(format!("{found:?} waits for requests")));
    };
    let number = |by: Decider| match by {
        Decider::Rule(index) => index as u16,
        Decider::Isolation => rule::ISOLATED,
        Decider::Default => rule::DEFAULT,
        Decider::Floor => rule::MTLS,
        Decider::NotHttp => rule::MISSING,
    };
    prop_assert_eq!((verdict.allowed, number(verdict.by)), (found.allowed, found.rule));
    prop_assert_eq!(verdict.audit_denies, found.audit_denies);
    prop_assert!(!found.allowed || number(verdict.audit_by) == found.audit_rule);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn ingress_sets_decide_as_the_policy_says(case in random::ingress()) {
        agrees(Direction::Ingress, case)?;
    }

    #[test]
    fn egress_sets_decide_as_the_policy_says(case in random::egress()) {
        agrees(Direction::Egress, case)?;
    }
}

fn rule_of(action: Action, peers: Vec<Entry>) -> Rule {
    Rule {
        tier: Tier::Access,
        action,
        audit: false,
        policy: "AccessPolicy/bank/vault".into(),
        name: "tellers".into(),
        peers,
        ports: Vec::new(),
        mtls: Mtls::Preferred,
        requests: Requests::All,
    }
}

fn ask(peer: Peer) -> Question {
    Question { peer, address: mesh_ebpf::address::Address::v4([10, 0, 0, 9]), protocol: 6, port: 80 }
}

#[test]
fn a_policy_that_says_nothing_is_the_empty_set() {
    let set = compile(Direction::Ingress, &DirectionPolicy::default()).unwrap();
    assert_eq!(set.id, SetId::EMPTY);
    assert!(set.rulings.is_empty());
}

#[test]
fn equal_policies_share_a_name_and_others_do_not() {
    let isolated = DirectionPolicy { isolated: true, ..DirectionPolicy::default() };
    let first = compile(Direction::Ingress, &isolated).unwrap();
    assert_eq!(first, compile(Direction::Ingress, &isolated).unwrap());
    let default_deny = DirectionPolicy { default_deny: true, ..DirectionPolicy::default() };
    assert_ne!(first.id, compile(Direction::Ingress, &default_deny).unwrap().id);
}

#[test]
fn the_set_of_a_missing_policy_denies_and_says_why() {
    let set = denies_all();
    for peer in [Peer::Proven(7), Peer::Claimed(7), Peer::Unknown] {
        for protocol in [6, 17, 0] {
            let verdict = decide(&Loaded::new(&set), set.id, &Question { protocol, ..ask(peer) });
            assert!(!verdict.allowed);
            assert_eq!(verdict.rule, rule::MISSING);
        }
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let rules = vec![rule_of(Action::Allow, Vec::new()); usize::from(rule::LIMIT)];
    let policy = DirectionPolicy { rules, ..DirectionPolicy::default() };
    assert_eq!(
        compile(Direction::Ingress, &policy),
        Err(CompileError::TooManyRules(usize::from(rule::LIMIT)))
    );
    let groups = (1..=ENTRY_LIMIT as u64 / 2).collect();
    let rules = vec![rule_of(Action::Allow, vec![Entry::Groups(groups)])];
    let policy = DirectionPolicy { rules, ..DirectionPolicy::default() };
    assert_eq!(compile(Direction::Ingress, &policy), Err(CompileError::TooManyEntries));
}

#[test]
fn a_thousand_ports_stay_small() {
    let mut rule = rule_of(Action::Allow, Vec::new());
    rule.ports = (0..1000)
        .map(|port| crate::relay::resource::PortRange {
            protocol: Protocol::Tcp,
            first: port * 7 + 1,
            last: port * 7 + 1,
        })
        .collect();
    let policy = DirectionPolicy { rules: vec![rule], isolated: true, ..DirectionPolicy::default() };
    let set = compile(Direction::Ingress, &policy).unwrap();
    // One entry a port and key, and one behind them.
    assert!(set.rulings.len() <= 3 * (1000 + 1) + 6, "{}", set.rulings.len());
}

#[test]
fn an_ipv6_range_never_admits_ipv4() {
    let everywhere = Cidr::new("::".parse().unwrap(), 0).unwrap();
    let rules = vec![rule_of(Action::Allow, vec![Entry::Cidrs(vec![everywhere])])];
    let policy = DirectionPolicy { rules, isolated: true, ..DirectionPolicy::default() };
    let set = compile(Direction::Ingress, &policy).unwrap();
    assert!(!decide(&Loaded::new(&set), set.id, &ask(Peer::Unknown)).allowed);
    let v6 = Question { address: mesh_ebpf::address::Address([0xfd; 16]), ..ask(Peer::Unknown) };
    assert!(decide(&Loaded::new(&set), set.id, &v6).allowed);
}

#[test]
fn a_denial_waits_for_no_request_and_everything_else_in_its_tier_does() {
    let by_request = |action| Rule {
        requests: Requests::Some { http: Vec::new(), grpc: vec![GrpcRule::default()] },
        ..rule_of(action, Vec::new())
    };
    let verdict = |rules: Vec<Rule>, protocol| {
        let policy = DirectionPolicy { rules, isolated: true, ..DirectionPolicy::default() };
        let set = compile(Direction::Ingress, &policy).unwrap();
        decide(&Loaded::new(&set), set.id, &Question { protocol, ..ask(Peer::Proven(7)) })
    };
    let (tcp, udp) = (mesh_ebpf::abi::TCP, mesh_ebpf::abi::UDP);
    let deny = || rule_of(Action::Deny, Vec::new());
    let allow = || rule_of(Action::Allow, Vec::new());
    let found = verdict(vec![by_request(Action::Deny), deny(), by_request(Action::Allow)], tcp);
    assert!(!found.allowed && !found.deferred && found.rule == 1, "{found:?}");
    let found = verdict(vec![by_request(Action::Deny), allow()], tcp);
    assert!(!found.allowed && found.deferred && found.rule == 0, "{found:?}");
    let found = verdict(vec![allow(), by_request(Action::Allow)], tcp);
    assert!(found.allowed && !found.deferred && found.rule == 0, "{found:?}");
    let found = verdict(vec![by_request(Action::Deny), allow()], udp);
    assert!(found.allowed && found.rule == 1, "{found:?}");
    let found = verdict(vec![by_request(Action::Allow)], udp);
    assert!(!found.allowed && !found.deferred && found.rule == rule::ISOLATED, "{found:?}");
}
