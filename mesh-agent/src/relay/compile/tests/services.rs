//! What becomes of a connection to a Service is what its routes say, read naively.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_ebpf::abi::Service as Flags;
use mesh_l7::table::route::Destination;
use proptest::prelude::*;

use crate::handover::{EndpointEntry, ServiceEntry};
use crate::relay::compile::{namespace_hash, port_entries};
use crate::relay::resource::{Protocol, Routed, Service, ServicePort, ServiceRoutes};
use crate::relay::routing::testing::{
    CALLERS, PORTS, after, backend, connections, endpoint, name, requests, routes, service, step,
};

type Services = BTreeMap<String, Arc<Service>>;
type Routes = BTreeMap<String, Arc<ServiceRoutes>>;

fn entries(services: &Services, routes: &Routes) -> Vec<ServiceEntry> {
    let of = |(name, service): (&String, &Arc<Service>)| {
        let backends = |name: &str| services.get(name).map(|service| &**service);
        let routes = routes.get(name).map(|routes| &**routes);
        let ports = service.ports.iter();
        ports.flat_map(|port| port_entries(service, port, routes, &backends)).collect::<Vec<_>>()
    };
    services.iter().flat_map(of).collect()
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// Nothing is dialled there.
    Unknown,
    /// The agent takes it.
    Engine,
    /// Endpoints with their shares of connections; the rest is refused.
    Led(BTreeMap<SocketAddr, f64>),
}

impl Fate {
    fn is_about(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Led(one), Self::Led(other)) => {
                one.keys().eq(other.keys())
                    && one.iter().all(|(endpoint, share)| (share - other[endpoint]).abs() < 1e-6)
            }
            _ => self == other,
        }
    }
}

/// As the kernel finds it.
fn fate(entries: &[ServiceEntry], at: (IpAddr, u16), protocol: Protocol, caller: &str) -> Fate {
    let dialled =
        |entry: &&ServiceEntry| entry.protocol == protocol.number() && entry.frontends.contains(&at);
    let mut found = entries.iter().filter(dialled);
    let Some(mut entry) = found.next() else { return Fate::Unknown };
    assert!(found.next().is_none(), "one entry a frontend");
    if entry.flags & Flags::CONSUMERS != 0 {
        let key = Some((entry.id, namespace_hash(caller)));
        entry = entries.iter().find(|consumer| consumer.consumer_of == key).unwrap_or(entry);
    }
    if entry.flags & Flags::ENGINE != 0 {
        return Fate::Engine;
    }
    let weights = entry.endpoints.iter().map(|endpoint| f64::from(endpoint.weight));
    let all = weights.sum::<f64>() + f64::from(entry.closed);
    let share = |endpoint: &EndpointEntry| {
        (SocketAddr::new(endpoint.address, endpoint.port), f64::from(endpoint.weight) / all)
    };
    Fate::Led(entry.endpoints.iter().map(share).collect())
}

fn led(port: &ServicePort, v4: bool, all: f64, shares: &mut BTreeMap<SocketAddr, f64>) {
    let endpoints = port.endpoints.iter().filter(|endpoint| endpoint.address.is_ipv4() == v4);
    let sum: f64 = endpoints.clone().map(|endpoint| f64::from(endpoint.weight)).sum();
    for endpoint in endpoints {
        let share = shares.entry(SocketAddr::new(endpoint.address, endpoint.port)).or_default();
        *share += all * f64::from(endpoint.weight) / sum;
    }
}

fn port_of(service: &Service, protocol: Protocol, number: u16) -> Option<&ServicePort> {
    service.ports.iter().find(|port| (port.protocol, port.port) == (protocol, number))
}

/// As the resources have it.
fn expected(
    services: &Services,
    routes: &Routes,
    (name, number): (&str, u16),
    (protocol, v4, inside): (Protocol, bool, bool),
    caller: &str,
) -> Fate {
    let port = port_of(&services[name], protocol, number).unwrap();
    let routed = routes.get(name).and_then(|routes| routes.port(protocol, number)?.of(caller));
    let mut shares = BTreeMap::new();
    match routed.filter(|_| inside) {
        None if port.by_request && inside => return Fate::Engine,
        None => led(port, v4, 1.0, &mut shares),
        Some(Routed::Requests(_) | Routed::ServerNames(_)) => return Fate::Engine,
        Some(Routed::Connections(rule)) => {
            let backends = rule.iter().flat_map(|rule| rule.backends.list());
            let all: u32 = backends.clone().map(|backend| backend.weight).sum();
            for backend in backends.filter(|backend| backend.weight > 0) {
                let Destination::Service { service, port, .. } = &backend.destination else { continue };
                let service = services.get(&**service);
                let Some(port) = service.and_then(|service| port_of(service, protocol, *port)) else {
                    continue;
                };
                led(port, v4, f64::from(backend.weight) / f64::from(all), &mut shares);
            }
        }
    }
    Fate::Led(shares)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn connections_are_led_as_routes_say(steps in prop::collection::vec(step(), 1..12)) {
        let (services, routes) = after(&steps);
        let entries = entries(&services, &routes);
        let ids: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.id).collect();
        prop_assert_eq!(ids.len(), entries.len(), "every entry is its own");
        for (name, service) in &services {
            for (protocol, number) in PORTS {
                let node_port = port_of(service, protocol, number).and_then(|port| port.node_port);
                let places = service.addresses.iter().map(|address| (*address, number, true));
                let outside = service.external_addresses.iter().map(|address| (*address, number, false));
                let nodes = service.node_addresses.iter();
                let nodes = nodes.filter_map(|address| Some((*address, node_port?, false)));
                for (address, port, inside) in places.chain(outside).chain(nodes) {
                    for caller in CALLERS {
                        let found = fate(&entries, (address, port), protocol, caller);
                        let how = (protocol, address.is_ipv4(), inside);
                        let expected = expected(&services, &routes, (name, number), how, caller);
                        prop_assert!(found.is_about(&expected), "{address}:{port} {found:?} {expected:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_weight_is_too_large(weights in prop::collection::vec((any::<u32>(), 1..u32::MAX), 1..4)) {
        let made = |(number, (_, weight)): (u8, &(u32, u32))| {
            (name(number), Arc::new(service(number, vec![endpoint(number, true, *weight)])))
        };
        let services: Services = (0..).zip(&weights).map(made).collect();
        let backends = (0..).zip(&weights).map(|(number, (weight, _))| backend(Some(number), *weight));
        let backends = connections(backends.chain([backend(None, u32::MAX)]).collect());
        let made = routes(0, PORTS[0], Some(backends), BTreeMap::new());
        let entries = entries(&services, &[(name(0), Arc::new(made))].into());
        let entry = entries.iter().find(|entry| entry.protocol == Protocol::Tcp.number()).unwrap();
        let all = f64::from(u32::MAX) + weights.iter().map(|(weight, _)| f64::from(*weight)).sum::<f64>();
        let nobody = entry.endpoints.is_empty();
        prop_assert_eq!(nobody, weights.iter().all(|(weight, _)| *weight == 0));
        let closed = f64::from(entry.closed) / f64::from(u32::MAX);
        prop_assert!(nobody || (closed - f64::from(u32::MAX) / all).abs() < 1e-6);
    }
}

#[test]
fn a_service_has_an_entry_per_port_and_family_and_one_outside() {
    let mut made = service(0, vec![endpoint(1, true, 2), endpoint(2, false, 1)]);
    made.ports.truncate(1);
    made.ports[0].node_port = Some(30080);
    made.node_addresses = vec![[192, 168, 0, 1].into()];
    made.affinity_seconds = 60;
    let entries = entries(&[(name(0), Arc::new(made))].into(), &BTreeMap::new());
    let seen: Vec<_> = entries.iter().map(|entry| (&entry.frontends[..], &entry.endpoints[..])).collect();
    let outside = [([192, 168, 0, 1].into(), 30080)];
    let (v4, v6) = ([([10, 96, 0, 1].into(), 80)], [("fd00::1".parse().unwrap(), 80)]);
    let (of_v4, of_v6) = ([endpoint(1, true, 2)], [endpoint(2, false, 1)]);
    assert_eq!(seen, [(&v4[..], &of_v4[..]), (&outside[..], &of_v4[..]), (&v6[..], &of_v6[..])]);
    for entry in &entries {
        assert_eq!((entry.name.as_str(), entry.affinity_seconds, entry.flags), ("shop/s0:80", 60, 0));
    }
}

#[test]
fn the_engine_has_a_port_as_long_as_a_route_asks_for_it() {
    let services: Services = [(name(0), Arc::new(service(0, vec![endpoint(1, true, 1)])))].into();
    let tcp = |routes: &Routes| -> Vec<(u32, bool)> {
        let entries = entries(&services, routes);
        let tcp = entries.iter().filter(|entry| entry.protocol == Protocol::Tcp.number());
        let v4 = tcp.filter(|entry| entry.endpoints.iter().any(|endpoint| endpoint.address.is_ipv4()));
        v4.map(|entry| (entry.flags, entry.consumer_of.is_some())).collect()
    };
    let of = |producer, consumers| [(name(0), Arc::new(routes(0, PORTS[0], producer, consumers)))].into();
    let http = || requests(vec![backend(Some(0), 1)]);
    assert_eq!(tcp(&of(Some(http()), BTreeMap::new())), [(Flags::ENGINE, false)]);
    assert_eq!(
        tcp(&of(None, [("bank", http())].into())),
        [(Flags::CONSUMERS, false), (Flags::ENGINE, true)],
        "others' connections are the kernel's"
    );
    assert_eq!(tcp(&of(None, BTreeMap::new())), [(0, false)]);
    assert_eq!(tcp(&BTreeMap::new()), [(0, false)]);
}
