//! Entries of Services follow what they are compiled from, whichever of it changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::Desired;
use crate::handover::{ServiceEntry, ToWire};
use crate::relay::resource::{Kind, Resource};
use crate::relay::routing::testing::{
    PORTS, Step, after, backend, connections, endpoint, name, routes, service, step,
};

/// What wire has of Services.
#[derive(Debug, Default, PartialEq)]
struct Told(BTreeMap<u64, ServiceEntry>);

impl Told {
    fn take(&mut self, messages: Vec<ToWire>) -> usize {
        let count = messages.len();
        for message in messages {
            match message {
                ToWire::Service(entry) => drop(self.0.insert(entry.id, entry)),
                ToWire::ServiceGone { id } => assert!(self.0.remove(&id).is_some(), "never told"),
                _ => {}
            }
        }
        count
    }
}

fn apply(desired: &mut Desired, step: Step) {
    match step {
        Step::Service(number, Some(service)) => desired.set(&name(number), Resource::Service(service)),
        Step::Service(number, None) => desired.remove(Kind::Service, &name(number)),
        Step::Routes(number, Some(routes)) => desired.set(&name(number), Resource::ServiceRoutes(routes)),
        Step::Routes(number, None) => desired.remove(Kind::ServiceRoutes, &name(number)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_order_leads_to_the_same_entries(steps in prop::collection::vec((step(), 0..4usize), 1..30)) {
        let (mut desired, mut told) = (Desired::new(), Told::default());
        desired.forget_told();
        for (step, flush) in steps.iter().cloned() {
            apply(&mut desired, step);
            told.take(desired.take_changes(flush));
        }
        told.take(desired.take_changes(usize::MAX));
        let steps: Vec<Step> = steps.into_iter().map(|(step, _)| step).collect();
        let (services, routes) = after(&steps);
        let (mut anew, mut fresh) = (Desired::new(), Told::default());
        for (name, routes) in routes {
            anew.set(&name, Resource::ServiceRoutes(routes));
        }
        for (name, service) in services.into_iter().rev() {
            anew.set(&name, Resource::Service((*service).clone()));
        }
        fresh.take(anew.take_changes(usize::MAX));
        prop_assert_eq!(&told, &fresh);
        for entry in fresh.0.values() {
            for &(address, port) in &entry.frontends {
                let there = desired.service_at(address, port, entry.protocol);
                prop_assert_eq!(there.map(|there| there.name.as_str()), Some(entry.name.as_str()));
            }
        }
        let somewhere = IpAddr::from([10, 96, 0, 1]);
        let known = fresh.0.values().any(|entry| entry.frontends.contains(&(somewhere, 80)));
        prop_assert_eq!(desired.service_at(somewhere, 80, 6).is_some(), known);
    }
}

#[test]
fn a_change_is_told_of_what_it_changes_only() {
    let mut desired = Desired::new();
    let mut told = Told::default();
    for number in 0..3 {
        desired.set(&name(number), Resource::Service(service(number, vec![endpoint(number, true, 1)])));
    }
    let to_one = connections(vec![backend(Some(1), 1)]);
    let made = routes(0, PORTS[0], Some(to_one), BTreeMap::new());
    desired.set(&name(0), Resource::ServiceRoutes(made.into()));
    told.take(desired.take_changes(usize::MAX));
    let mut changed = |number: u8, addresses: &[u8]| {
        let endpoints = addresses.iter().map(|address| endpoint(*address, true, 1)).collect();
        desired.set(&name(number), Resource::Service(service(number, endpoints)));
        told.take(desired.take_changes(usize::MAX))
    };
    // Each port is one entry in each family.
    assert_eq!(changed(2, &[2, 3]), 2, "nothing leads there");
    assert_eq!(changed(1, &[1, 3]), 3, "and the port that is led there");
    assert_eq!(changed(0, &[3]), 1, "its routed port has no endpoints of its own");
    assert_eq!(changed(0, &[3]), 0);
    desired.remove(Kind::ServiceRoutes, &name(0));
    assert_eq!(told.take(desired.take_changes(usize::MAX)), 1);
}

#[test]
fn what_wire_refuses_of_a_routed_service_is_told_of_both() {
    let mut desired = Desired::new();
    desired.set(&name(0), Resource::Service(service(0, Vec::new())));
    let made = routes(0, PORTS[0], Some(connections(Vec::new())), BTreeMap::new());
    desired.set(&name(0), Resource::ServiceRoutes(made.into()));
    let messages = desired.take_changes(usize::MAX);
    let Some(ToWire::Service(entry)) = messages.first() else { panic!("{messages:?}") };
    desired.refuse(&format!("service {}", entry.id), "the map is full".into());
    for kind in [Kind::Service, Kind::ServiceRoutes] {
        let fault = desired.fault_of(kind, [&name(0)]);
        assert_eq!(fault, Some(format!("{} shop/s0: the map is full", kind.name())));
    }
}
