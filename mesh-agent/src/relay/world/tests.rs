//! What workers are told follows discovery, in any order.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::{GroupId, SpiffeId};
use mesh_ebpf::policy::SetId;

use super::{Absent, Settled, World};
use crate::relay::access::PodRules;
use crate::relay::compile::denies_all;
use crate::relay::resource::{Local, PodPolicy, Workload};

fn workload(name: &str, address: u8, group: u64) -> Workload {
    Workload {
        uid: format!("uid-{name}"),
        namespace: "bank".into(),
        name: name.into(),
        service_account: "teller".into(),
        addresses: vec![ip(address)],
        node: "n1".into(),
        workload: name.into(),
        enrolled: true,
        host_network: false,
        group,
        encrypt_always: false,
        local: Some(Local::default()),
    }
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn teller(trust_domain: &str) -> SpiffeId {
    SpiffeId::new(trust_domain, "bank", "teller").unwrap()
}

#[test]
fn an_address_is_expected_to_prove_what_discovery_says() {
    let world = World::new();
    world.learn("a", &workload("a", 1, 7));
    assert_ne!(world.expected(ip(1), 0).unwrap().first(), Some(&teller("cluster.local")), "not known yet");
    world.set_trust_domain("cluster.local");
    assert_eq!(world.expected(ip(1), 0).unwrap().iter().collect::<Vec<_>>(), [&teller("cluster.local")]);
    world.learn("b", &Workload { service_account: "audit".into(), ..workload("b", 1, 8) });
    assert_eq!(world.expected(ip(1), 0).unwrap().len(), 2, "two share it while one is on its way out");
    world.learn("a", &Workload { addresses: vec![ip(2)], ..workload("a", 1, 7) });
    assert_eq!(world.expected(ip(1), 0).unwrap().first().unwrap().service_account(), "audit");
    world.forget("a");
    assert_eq!(world.expected(ip(2), 0), Err(Absent::Nobody));
    world.learn("b", &Workload { enrolled: false, ..workload("b", 1, 8) });
    assert_eq!(world.expected(ip(1), 0), Err(Absent::Nobody), "a plain pod has no tunnel");
}

#[test]
fn a_group_takes_the_name_and_the_address() {
    let world = World::new();
    world.set_trust_domain("cluster.local");
    world.learn("a", &workload("a", 1, 7));
    let bare = GroupId::of_identity("bank", "teller").get();
    assert_eq!(world.group(ip(1), &teller("cluster.local")), 7);
    assert_eq!(world.group(ip(9), &teller("cluster.local")), bare, "from elsewhere");
    assert_eq!(world.group(ip(1), &teller("other.domain")), bare, "of another domain");
    world.learn("b", &Workload { service_account: "audit".into(), ..workload("b", 1, 8) });
    assert_eq!(world.group(ip(1), &teller("cluster.local")), 7, "the name tells them apart");
    world.learn("c", &workload("c", 1, 9));
    assert_eq!(world.group(ip(1), &teller("cluster.local")), bare, "labels cannot be told apart");
}

#[test]
fn residents_carry_their_policy_and_share_it() {
    let world = World::new();
    world.set_trust_domain("cluster.local");
    let mut changed = world.changed();
    let (a, b) = (workload("a", 1, 7), workload("b", 2, 7));
    let denies = denies_all();
    world.settle("uid-a", Some(Settled { workload: &a, ingress: Some(&denies), egress: None, rules: None }));
    world.settle("uid-b", Some(Settled { workload: &b, ingress: Some(&denies), egress: None, rules: None }));
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    let (first, second) = (world.resident("uid-a").unwrap(), world.resident("uid-b").unwrap());
    assert!(Arc::ptr_eq(&first.ingress, &second.ingress));
    assert_eq!(first.ingress.id(), denies.id);
    world.settle("uid-a", Some(Settled { workload: &a, ingress: None, egress: None, rules: None }));
    assert_eq!(world.resident("uid-a").unwrap().ingress.id(), SetId::EMPTY);
    assert!(changed.has_changed().unwrap());
    let plain = Workload { enrolled: false, ..a };
    world.settle("uid-a", Some(Settled { workload: &plain, ingress: None, egress: None, rules: None }));
    assert!(world.resident("uid-a").is_none());
    world.settle("uid-b", None);
    assert!(world.resident("uid-b").is_none());
}

#[test]
fn residents_carry_their_rules_under_every_name() {
    let world = World::new();
    world.set_trust_domain("cluster.local");
    let policy = PodPolicy { pod_uid: "uid-a".into(), ingress: Arc::default(), egress: Arc::default() };
    let rules = Arc::new(PodRules::new(&policy));
    let held = || world.resident("uid-a").unwrap().rules.clone();
    world.settle(
        "uid-a",
        Some(Settled { workload: &workload("a", 1, 7), ingress: None, egress: None, rules: Some(&rules) }),
    );
    assert!(held().is_some_and(|held| Arc::ptr_eq(&held, &rules)));
    world.set_trust_domain("bank.example");
    assert!(held().is_some_and(|held| Arc::ptr_eq(&held, &rules)));
    world.settle(
        "uid-a",
        Some(Settled {
            workload: &workload("a", 1, 7),
            ingress: Some(&denies_all()),
            egress: None,
            rules: None,
        }),
    );
    assert!(held().is_none());
}

#[test]
fn an_address_that_went_to_another_pod_is_not_the_one_that_was_picked() {
    let world = World::new();
    world.set_trust_domain("cluster.local");
    world.learn("a", &workload("a", 1, 7));
    assert!(world.expected(ip(1), 7).is_ok());
    world.learn("b", &Workload { service_account: "audit".into(), ..workload("b", 1, 8) });
    let names = |group| world.expected(ip(1), group).map(|ids| ids.len());
    assert_eq!((names(7), names(8), names(0)), (Ok(1), Ok(1), Ok(2)), "each by its own name");
    assert_eq!(world.expected(ip(1), 8).unwrap().first().unwrap().service_account(), "audit");
    world.forget("a");
    assert_eq!(names(7), Err(Absent::Another));
}

#[test]
fn a_pod_whose_group_changed_is_still_the_one_that_was_picked() {
    let world = World::new();
    world.set_trust_domain("cluster.local");
    for group in 7..12 {
        world.learn("a", &workload("a", 1, group));
    }
    for group in 7..12 {
        assert!(world.expected(ip(1), group).is_ok(), "group {group}");
    }
    assert_eq!(world.expected(ip(1), 12), Err(Absent::Another));
    // Another pod under the same name has no past.
    world.learn("a", &Workload { uid: "another".into(), ..workload("a", 1, 20) });
    assert_eq!(world.expected(ip(1), 11), Err(Absent::Another));
    assert!(world.expected(ip(1), 20).is_ok());
    // What is remembered is bounded.
    for group in 100..200 {
        world.learn("a", &workload("a", 1, group));
    }
    assert!(world.expected(ip(1), 192).is_ok() && world.expected(ip(1), 110).is_err());
}

#[test]
fn a_set_that_shares_the_id_of_another_is_not_taken_for_it() {
    let world = World::new();
    world.set_trust_domain("cluster.local");
    let (a, b) = (workload("a", 1, 7), workload("b", 2, 7));
    let denies = denies_all();
    let mut other = denies.clone();
    other.rulings.truncate(1);
    world.settle("uid-a", Some(Settled { workload: &a, ingress: Some(&denies), egress: None, rules: None }));
    world.settle("uid-b", Some(Settled { workload: &b, ingress: Some(&other), egress: None, rules: None }));
    let (first, second) = (world.resident("uid-a").unwrap(), world.resident("uid-b").unwrap());
    assert_eq!(first.ingress.id(), second.ingress.id());
    assert_ne!(first.ingress, second.ingress);
}
