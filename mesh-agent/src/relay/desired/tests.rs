//! What wire ends up with is what the resources say, whatever the order they came in.

mod services;

use std::collections::BTreeMap;

use mesh_ebpf::abi::Workload as Flags;
use mesh_ebpf::policy::{SetId, rule};
use proptest::prelude::*;

use super::Desired;
use crate::handover::{EndpointEntry, LocalPod, PeerEntry, ServiceEntry, ToWire};
use crate::relay::resource::{
    Action, DirectionPolicy, Kind, Local, Mtls, PodPolicy, Protocol, Resource, Rule, Service, ServicePort,
    Tier, Workload,
};

/// What wire would hold after being told, with the order checked.
#[derive(Debug, Default, PartialEq)]
struct Held {
    pods: BTreeMap<String, LocalPod>,
    peers: BTreeMap<std::net::IpAddr, PeerEntry>,
    sets: BTreeMap<SetId, usize>,
    services: BTreeMap<u64, ServiceEntry>,
}

impl Held {
    fn take(&mut self, messages: Vec<ToWire>) {
        for message in messages {
            match message {
                ToWire::Set(set) => {
                    assert!(self.sets.insert(set.id, set.rulings.len()).is_none(), "sent twice");
                }
                ToWire::SetGone { id } => {
                    assert!(self.sets.remove(&id).is_some(), "never sent");
                    let named = self.pods.values().any(|pod| pod.ingress == id || pod.egress == id);
                    assert!(!named, "taken from a pod");
                }
                ToWire::Pod(pod) => {
                    for id in [pod.ingress, pod.egress] {
                        assert!(id == SetId::EMPTY || self.sets.contains_key(&id), "not sent before");
                    }
                    self.pods.insert(pod.uid.clone(), pod);
                }
                ToWire::PodGone { uid } => assert!(self.pods.remove(&uid).is_some()),
                ToWire::Peer(peer) => {
                    self.peers.insert(peer.address, peer);
                }
                ToWire::PeerGone { address } => {
                    let led_to = |service: &ServiceEntry| {
                        service.endpoints.iter().any(|endpoint| endpoint.address == address)
                    };
                    assert!(!self.services.values().any(led_to), "a Service still leads there");
                    assert!(self.peers.remove(&address).is_some());
                }
                ToWire::Service(service) => {
                    let known = |endpoint: &EndpointEntry| self.peers.contains_key(&endpoint.address);
                    assert!(service.endpoints.iter().all(known), "leads to a pod that was not told");
                    self.services.insert(service.id, service);
                }
                ToWire::ServiceGone { id } => assert!(self.services.remove(&id).is_some()),
                _ => {}
            }
        }
    }
}

fn workload(uid: u8, address: u8, enrolled: bool, host_network: bool) -> Workload {
    Workload {
        uid: format!("u{uid}"),
        namespace: "bank".into(),
        name: format!("p{uid}"),
        service_account: "teller".into(),
        addresses: vec![[10, 0, 0, address].into()],
        node: "n1".into(),
        workload: "tellers".into(),
        enrolled,
        host_network,
        group: u64::from(uid) + 1,
        encrypt_always: false,
        local: (uid < 4).then(Local::default),
    }
}

fn policy(uid: u8, variant: u8) -> PodPolicy {
    let ingress = DirectionPolicy { isolated: variant & 1 != 0, ..DirectionPolicy::default() };
    let egress = DirectionPolicy { default_deny: variant & 2 != 0, ..DirectionPolicy::default() };
    PodPolicy { pod_uid: format!("u{uid}"), ingress: ingress.into(), egress: egress.into() }
}

#[derive(Debug, Clone)]
enum Step {
    Workload(u8, u8, bool),
    NoWorkload(u8),
    Policy(u8, u8),
    NoPolicy(u8),
    Flush(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, 0..4u8, any::<bool>()).prop_map(|(uid, at, on)| Step::Workload(uid, at, on)),
        (0..6u8).prop_map(Step::NoWorkload),
        (0..6u8, 0..4u8).prop_map(|(uid, variant)| Step::Policy(uid, variant)),
        (0..6u8).prop_map(Step::NoPolicy),
        (1..4usize).prop_map(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn changes_lead_to_what_a_fresh_wire_would_be_told(steps in prop::collection::vec(step(), 1..60)) {
        let mut desired = Desired::new();
        let mut held = Held::default();
        desired.forget_told();
        for step in steps {
            match step {
                Step::Workload(uid, at, on) => {
                    desired.set(&format!("p{uid}"), Resource::Workload(workload(uid, at, on, false)));
                }
                Step::NoWorkload(uid) => desired.remove(Kind::Workload, &format!("p{uid}")),
                Step::Policy(uid, variant) => {
                    desired.set(&format!("p{uid}"), Resource::PodPolicy(policy(uid, variant)));
                }
                Step::NoPolicy(uid) => desired.remove(Kind::PodPolicy, &format!("p{uid}")),
                Step::Flush(limit) => held.take(desired.take_changes(limit)),
            }
        }
        held.take(desired.take_changes(usize::MAX));
        prop_assert!(desired.is_told());
        let mut fresh = Held::default();
        desired.forget_told();
        fresh.take(desired.take_changes(usize::MAX));
        prop_assert_eq!(held, fresh);
    }
}

#[test]
fn a_pod_without_its_policy_denies_everything_and_is_reported() {
    let mut desired = Desired::new();
    desired.forget_told();
    desired.set("bank/p1/u1", Resource::Workload(workload(1, 1, true, false)));
    assert!(desired.awaits_policy());
    let messages = desired.take_changes(usize::MAX);
    let Some(ToWire::Pod(pod)) = messages.last() else { panic!("{messages:?}") };
    let set = desired.compiled_set(pod.ingress).unwrap();
    assert!(set.rulings.iter().all(|(.., ruling)| ruling.enforced.admin.rule == rule::MISSING));
    assert!(pod.ingress_denies_other);
    assert!(desired.problems()[0].contains("no PodPolicy has come for it"));
    desired.set("bank/p1/u1", Resource::PodPolicy(policy(1, 0)));
    let Some(ToWire::Pod(pod)) = desired.take_changes(usize::MAX).pop() else { panic!() };
    assert_eq!((pod.ingress, pod.egress), (SetId::EMPTY, SetId::EMPTY));
    assert!(desired.rules("u1").is_some() && desired.rules("u2").is_none());
    assert_eq!(desired.problems(), Vec::<String>::new());
}

#[test]
fn a_policy_over_a_limit_fails_closed_and_is_named() {
    let mut desired = Desired::new();
    let rule = Rule {
        tier: Tier::Access,
        action: Action::Allow,
        audit: false,
        policy: "AccessPolicy/bank/big".into(),
        name: "r".into(),
        peers: Vec::new(),
        ports: Vec::new(),
        mtls: Mtls::Preferred,
        requests: mesh_l7::access::rule::Requests::All,
    };
    let rules = vec![rule; usize::from(rule::LIMIT)];
    let ingress = DirectionPolicy { rules, ..DirectionPolicy::default() };
    let policy =
        PodPolicy { pod_uid: "u1".into(), ingress: ingress.into(), egress: std::sync::Arc::default() };
    desired.set("bank/p1/u1", Resource::Workload(workload(1, 1, true, false)));
    desired.set("bank/p1/u1", Resource::PodPolicy(policy));
    let Some(ToWire::Pod(pod)) = desired.take_changes(usize::MAX).pop() else { panic!() };
    assert_eq!(pod.ingress, super::compile::denies_all().id);
    assert_eq!(pod.egress, SetId::EMPTY);
    assert!(desired.rules("u1").is_none(), "nor is anything let in by request");
    let name = "bank/p1/u1".to_owned();
    let fault = desired.fault_of(Kind::PodPolicy, [&name]).unwrap();
    assert!(fault.starts_with("PodPolicy bank/p1/u1: 65520 rules, over the limit"), "{fault}");
}

#[test]
fn what_wire_refuses_is_told_of_its_resource_until_it_is_sent_again() {
    let mut desired = Desired::new();
    let name = "bank/p1/u1".to_owned();
    desired.set(&name, Resource::Workload(workload(1, 1, false, false)));
    desired.take_changes(usize::MAX);
    desired.refuse("pod u1", "its address is the node's".into());
    assert_eq!(
        desired.fault_of(Kind::Workload, [&name]).as_deref(),
        Some("Workload bank/p1/u1: its address is the node's")
    );
    desired.set(&name, Resource::Workload(workload(1, 2, false, false)));
    desired.take_changes(usize::MAX);
    assert_eq!(desired.fault_of(Kind::Workload, [&name]), None);
}

#[test]
fn pods_that_share_an_address_are_not_told_apart() {
    let mut desired = Desired::new();
    desired.set("a", Resource::Workload(workload(1, 1, false, true)));
    desired.set("b", Resource::Workload(workload(5, 1, true, false)));
    let messages = desired.take_changes(usize::MAX);
    let peer = messages.iter().find_map(|message| match message {
        ToWire::Peer(peer) => Some(*peer),
        _ => None,
    });
    let peer = peer.unwrap();
    assert_eq!(peer.group, 0);
    assert_eq!(peer.flags, Flags::ENROLLED | Flags::LOCAL | Flags::HOST_NETWORK);
}

/// A Service that leads to the pods at these addresses.
fn service(addresses: impl IntoIterator<Item = u8>) -> Service {
    let endpoints = addresses.into_iter().map(|address| EndpointEntry {
        address: [10, 0, 0, address].into(),
        port: 8080,
        weight: 1,
        enrolled: true,
    });
    let port = ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        app_protocol: mesh_l7::table::route::AppProtocol::Unknown,
        by_request: false,
        endpoints: endpoints.collect(),
    };
    Service {
        namespace: "bank".into(),
        name: "tellers".into(),
        addresses: vec![[10, 96, 0, 1].into()],
        external_addresses: Vec::new(),
        node_addresses: Vec::new(),
        ports: vec![port],
        affinity_seconds: 0,
        round_robin: false,
    }
}

#[test]
fn a_service_never_leads_to_a_pod_that_is_not_told() {
    let mut desired = Desired::new();
    let mut held = Held::default();
    desired.forget_told();
    let mut step = |services: Option<&[u8]>, pods: &[u8], gone: &[u8], expected: &[u8]| {
        // In whatever order they come.
        if let Some(addresses) = services {
            desired.set("bank/tellers", Resource::Service(service(addresses.iter().copied())));
        }
        for &uid in pods {
            desired.set(&format!("p{uid}"), Resource::Workload(workload(uid, uid, true, false)));
        }
        for uid in gone {
            desired.remove(Kind::Workload, &format!("p{uid}"));
        }
        held.take(desired.take_changes(usize::MAX));
        let told: Vec<u8> = held.peers.values().map(|peer| peer.group as u8 - 1).collect();
        assert_eq!(told, expected);
    };
    step(Some(&[1]), &[1], &[], &[1]);
    step(Some(&[2]), &[2], &[1], &[2]);
    step(Some(&[2, 3]), &[3], &[], &[2, 3]);
    step(Some(&[]), &[], &[2, 3], &[]);
    step(Some(&[1]), &[1], &[], &[1]);
    // Away and there again before it was told.
    desired.remove(Kind::Workload, "p1");
    desired.set("p1", Resource::Workload(workload(1, 1, true, false)));
    assert!(
        desired.take_changes(usize::MAX).iter().all(|message| !matches!(message, ToWire::PeerGone { .. }))
    );
}

#[test]
fn a_policy_whose_set_has_the_id_of_another_denies_everything() {
    let mut desired = Desired::new();
    desired.set("bank/p1/u1", Resource::Workload(workload(1, 1, true, false)));
    desired.set("bank/p1/u1", Resource::PodPolicy(policy(1, 1)));
    let Some(ToWire::Pod(pod)) = desired.take_changes(usize::MAX).pop() else { panic!() };
    let mut other = (**desired.compiled_set(pod.ingress).unwrap()).clone();
    other.rulings.truncate(1);
    let error = desired.sets.alone(other).unwrap_err();
    assert!(error.to_string().contains("have the same id"), "{error}");
    let same = (**desired.compiled_set(pod.ingress).unwrap()).clone();
    assert!(desired.sets.alone(same).is_ok());
}
