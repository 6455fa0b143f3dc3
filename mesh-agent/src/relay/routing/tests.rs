//! What workers are told follows discovery, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mesh_l7::table::route::{AppProtocol, Destination};
use proptest::prelude::*;

use super::testing::{
    CALLERS, SERVICES, Step, address, after, backend, connections, endpoint, name, requests, routes, service,
    step,
};
use super::{Backend, Routing};
use crate::relay::engine::decide::Protocol as Spoken;
use crate::relay::resource::{Protocol, Service};

const HTTP: (Protocol, u16) = (Protocol::Tcp, 80);

fn to(number: u8) -> Destination {
    backend(Some(number), 1).destination
}

fn set(routing: &Routing, number: u8, made: Service) {
    routing.set_service(&name(number), Some(&Arc::new(made)));
}

fn endpoints(backend: &Backend) -> Vec<String> {
    backend.endpoints.iter().map(ToString::to_string).collect()
}

#[test]
fn a_port_is_dialled_at_its_cluster_addresses_only() {
    let routing = Routing::new();
    let mut made = service(0, Vec::new());
    made.external_addresses = vec![[203, 0, 113, 1].into()];
    made.node_addresses = vec![[192, 168, 0, 1].into()];
    made.ports[0].node_port = Some(30080);
    made.ports[0].app_protocol = AppProtocol::Http2;
    set(&routing, 0, made);
    let dialled = routing.dialled(SocketAddr::new(address(0, true), 80)).unwrap();
    assert_eq!((&*dialled.name, dialled.port, dialled.host.name()), ("shop/s0:80", 80, "s0.shop"));
    let Destination::Service { service, port, protocol } = &dialled.destination else { panic!() };
    assert_eq!((&**service, *port, *protocol), ("shop/s0", 80, AppProtocol::Http2));
    assert_eq!(routing.dialled(SocketAddr::new(address(0, false), 80)), Some(dialled));
    for (there, port) in
        [([10, 96, 0, 1], 81), ([10, 96, 0, 1], 53), ([203, 0, 113, 1], 80), ([192, 168, 0, 1], 30080)]
    {
        assert_eq!(routing.dialled((there, port).into()), None, "{there:?} {port}");
    }
}

#[test]
fn a_namespaces_own_routes_take_the_place_of_the_producers() {
    let routing = Routing::new();
    set(&routing, 0, service(0, Vec::new()));
    let dialled = routing.dialled(SocketAddr::new(address(0, true), 80)).unwrap();
    assert_eq!(routing.routed(&dialled, "bank"), None);
    let (producer, own) = (requests(vec![backend(Some(1), 1)]), connections(vec![]));
    let consumers = BTreeMap::from([("bank", own.clone())]);
    routing.set_routes(&name(0), Some(&Arc::new(routes(0, HTTP, Some(producer.clone()), consumers))));
    assert_eq!(routing.routed(&dialled, "bank"), Some(own));
    assert_eq!(routing.routed(&dialled, "other"), Some(producer));
    routing.set_routes(&name(0), None);
    assert_eq!(routing.routed(&dialled, "bank"), None);
}

#[test]
fn a_backend_has_the_wanted_family_or_the_other() {
    let routing = Routing::new();
    assert!(routing.backend(&to(0), true).is_none());
    set(&routing, 0, service(0, vec![endpoint(2, false, 1), endpoint(1, false, 3)]));
    let (v4, v6) = (routing.backend(&to(0), true).unwrap(), routing.backend(&to(0), false).unwrap());
    assert_eq!(endpoints(&v6), ["[fd01::1]:8080", "[fd01::2]:8080"]);
    assert!(Arc::ptr_eq(&v4, &v6), "there is no other");
    assert!(!routing.is_enrolled(&to(0), v6.endpoints[0]) && routing.is_enrolled(&to(0), v6.endpoints[1]));
    set(&routing, 0, service(0, vec![endpoint(1, true, 1), endpoint(1, false, 1)]));
    assert_eq!(endpoints(&routing.backend(&to(0), true).unwrap()), ["10.1.0.1:8080"]);
    set(&routing, 0, service(0, Vec::new()));
    assert!(routing.backend(&to(0), true).unwrap().endpoints.is_empty());
    assert!(routing.backend(&Destination::Invalid("gone".into()), true).is_none());
}

#[test]
fn a_backend_is_the_same_one_while_its_endpoints_are() {
    let routing = Routing::new();
    set(&routing, 0, service(0, vec![endpoint(1, true, 1), endpoint(2, true, 1)]));
    let first = routing.backend(&to(0), true).unwrap();
    first.turn.store(7, Ordering::Relaxed);
    set(&routing, 1, service(1, vec![endpoint(3, true, 1)]));
    set(&routing, 0, service(0, vec![endpoint(1, true, 1), endpoint(2, true, 1)]));
    set(&routing, 0, service(0, vec![endpoint(2, true, 1), endpoint(1, true, 1), endpoint(1, false, 1)]));
    routing.set_routes(&name(0), Some(&Arc::new(routes(0, HTTP, None, BTreeMap::new()))));
    assert!(Arc::ptr_eq(&first, &routing.backend(&to(0), true).unwrap()), "nothing of its own");
    let spoken = |protocol| {
        let to = Destination::Service { service: name(0).into(), port: 80, protocol };
        routing.backend(&to, true).unwrap().protocol
    };
    assert_eq!(spoken(AppProtocol::Grpc), Spoken::Http2);
    assert_eq!(spoken(AppProtocol::Http1), Spoken::Http1);
    set(&routing, 0, service(0, vec![endpoint(1, true, 2), endpoint(2, true, 1)]));
    let other = routing.backend(&to(0), true).unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
    assert_eq!(other.weights, mesh_l7::pick::Weighted::new([2, 1]));
    routing.set_service(&name(0), None);
    assert!(routing.backend(&to(0), true).is_none());
    assert_eq!(endpoints(&first).len(), 2, "who has one keeps it");
}

/// All of a backend but whose turn it is.
fn content(backend: &Backend) -> String {
    let enrolled: BTreeSet<_> = backend.enrolled.iter().copied().collect();
    let Backend { name, protocol, endpoints, weights, picked, .. } = backend;
    format!("{name} {protocol:?} {endpoints:?} {enrolled:?} {weights:?} {picked}")
}

/// Everything that can be asked.
fn answers(routing: &Routing) -> Vec<String> {
    let mut answers = Vec::new();
    for number in 0..SERVICES {
        for v4 in [true, false] {
            let dialled = routing.dialled(SocketAddr::new(address(number, v4), 80));
            let routed = |caller| dialled.as_ref().and_then(|dialled| routing.routed(dialled, caller));
            answers.push(format!("{dialled:?} {:?}", CALLERS.map(routed)));
            let backend = routing.backend(&to(number), v4);
            answers.push(backend.as_deref().map(content).unwrap_or_default());
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn answers_are_those_of_what_is_there(steps in prop::collection::vec(step(), 1..30), asks: u32) {
        let routing = Routing::new();
        for (step, ask) in steps.iter().zip((0..32).cycle()) {
            match step {
                Step::Service(number, service) => {
                    routing.set_service(&name(*number), service.clone().map(Arc::new).as_ref());
                }
                Step::Routes(number, made) => routing.set_routes(&name(*number), made.as_ref()),
            }
            if asks >> ask & 1 == 1 {
                answers(&routing);
            }
        }
        let (services, routes) = after(&steps);
        let anew = Routing::new();
        for (name, routes) in routes.iter().rev() {
            anew.set_routes(name, Some(routes));
        }
        for (name, service) in services.iter().rev() {
            anew.set_service(name, Some(service));
        }
        prop_assert_eq!(answers(&routing), answers(&anew));
    }
}
