//! Services and routes for tests: few names, so that they meet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_l7::table::route::{AppProtocol, Backend, Backends, Destination, RouteRule};
use mesh_l7::table::sni::SniTable;
use mesh_l7::table::{PortRoutes, RouteKind, RouteTable};
use mesh_l7::timeouts::Timeouts;
use proptest::prelude::*;

use crate::handover::EndpointEntry;
use crate::relay::resource::{Protocol, Routed, RoutedPort, Service, ServicePort, ServiceRoutes};

/// How many Services there are.
pub(crate) const SERVICES: u8 = 3;
/// The port of each that is TCP, and the one that is UDP.
pub(crate) const PORTS: [(Protocol, u16); 2] = [(Protocol::Tcp, 80), (Protocol::Udp, 53)];
/// Namespaces of callers; those of the first two may have routes of their own.
pub(crate) const CALLERS: [&str; 3] = ["bank", "mail", "other"];

/// The resource name of a Service.
pub(crate) fn name(number: u8) -> String {
    format!("shop/s{number}")
}

/// Its cluster address.
pub(crate) fn address(number: u8, v4: bool) -> IpAddr {
    if v4 { [10, 96, 0, number + 1].into() } else { [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number) + 1].into() }
}

/// An endpoint of its own in each family.
pub(crate) fn endpoint(number: u8, v4: bool, weight: u32) -> EndpointEntry {
    let address =
        if v4 { [10, 1, 0, number].into() } else { [0xfd01, 0, 0, 0, 0, 0, 0, u16::from(number)].into() };
    EndpointEntry { address, port: 8080, weight, enrolled: number.is_multiple_of(2) }
}

/// A Service with these endpoints at both of its ports.
pub(crate) fn service(number: u8, endpoints: Vec<EndpointEntry>) -> Service {
    let port = |(protocol, port)| ServicePort {
        name: String::new(),
        protocol,
        port,
        node_port: None,
        endpoints: endpoints.clone(),
        app_protocol: AppProtocol::Unknown,
        by_request: false,
    };
    Service {
        namespace: "shop".into(),
        name: format!("s{number}"),
        addresses: vec![address(number, true), address(number, false)],
        external_addresses: Vec::new(),
        node_addresses: Vec::new(),
        ports: PORTS.into_iter().map(port).collect(),
        affinity_seconds: 0,
        round_robin: false,
    }
}

/// A backend of a rule: a Service by its number, or nothing.
pub(crate) fn backend(to: Option<u8>, weight: u32) -> Backend {
    backend_at(to, 80, weight)
}

fn backend_at(to: Option<u8>, port: u16, weight: u32) -> Backend {
    let destination = match to {
        Some(number) => {
            Destination::Service { service: name(number).into(), port, protocol: AppProtocol::Unknown }
        }
        None => Destination::Invalid("nobody".into()),
    };
    Backend { destination, weight, filters: Vec::new() }
}

/// A rule with these backends.
pub(crate) fn rule(backends: Vec<Backend>) -> RouteRule {
    RouteRule {
        route: "TCPRoute/shop/r".into(),
        name: "rules[0]".into(),
        filters: Vec::new(),
        backends: Backends::new(backends),
        timeouts: Timeouts::default(),
        retry: None,
        fail: None,
    }
}

/// A table of an HTTPRoute, whose rule has these backends.
pub(crate) fn requests(backends: Vec<Backend>) -> Routed {
    let table = RouteTable::new(RouteKind::Http, Vec::new(), vec![rule(backends)]);
    Routed::Requests(Arc::new(table.unwrap()))
}

/// One of a TCPRoute or UDPRoute.
pub(crate) fn connections(backends: Vec<Backend>) -> Routed {
    Routed::Connections(Some(Arc::new(rule(backends))))
}

/// The routes of one port of a Service.
pub(crate) fn routes(
    number: u8,
    (protocol, port): (Protocol, u16),
    producer: Option<Routed>,
    consumers: BTreeMap<&str, Routed>,
) -> ServiceRoutes {
    let consumers = consumers.into_iter().map(|(namespace, table)| (namespace.to_owned(), table)).collect();
    ServiceRoutes {
        namespace: "shop".into(),
        name: format!("s{number}"),
        ports: vec![RoutedPort { protocol, port, routes: PortRoutes::new(producer, consumers) }],
    }
}

/// What may happen to the resources.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A Service comes, changes, or goes.
    Service(u8, Option<Service>),
    /// Its routes do.
    Routes(u8, Option<Arc<ServiceRoutes>>),
}

/// Any of it.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let service = |number| {
        let there = prop::option::weighted(0.8, any_service(number));
        there.prop_map(move |service| Step::Service(number, service))
    };
    let routes = |number| {
        let there = prop::option::weighted(0.8, any_routes(number));
        there.prop_map(move |routes| Step::Routes(number, routes.map(Arc::new)))
    };
    prop_oneof![(0..SERVICES).prop_flat_map(service), (0..SERVICES).prop_flat_map(routes)]
}

/// What is there after some steps.
pub(crate) fn after(
    steps: &[Step],
) -> (BTreeMap<String, Arc<Service>>, BTreeMap<String, Arc<ServiceRoutes>>) {
    let (mut services, mut routes) = (BTreeMap::new(), BTreeMap::new());
    for step in steps {
        match step {
            Step::Service(number, Some(service)) => {
                services.insert(name(*number), Arc::new(service.clone()));
            }
            Step::Service(number, None) => drop(services.remove(&name(*number))),
            Step::Routes(number, Some(made)) => drop(routes.insert(name(*number), Arc::clone(made))),
            Step::Routes(number, None) => drop(routes.remove(&name(*number))),
        }
    }
    (services, routes)
}

fn any_endpoints() -> impl Strategy<Value = Vec<EndpointEntry>> {
    prop::collection::btree_map((0..4u8, any::<bool>()), 1..4u32, 0..5).prop_map(|made| {
        made.into_iter().map(|((number, v4), weight)| endpoint(number, v4, weight)).collect()
    })
}

fn any_service(number: u8) -> impl Strategy<Value = Service> {
    let flags = any::<[bool; 4]>();
    (any_endpoints(), any_endpoints(), flags).prop_map(move |(tcp, udp, flags)| {
        let [v6, external, node_port, by_request] = flags;
        let mut made = service(number, Vec::new());
        if !v6 {
            made.addresses.truncate(1);
        }
        if external {
            made.external_addresses = vec![[203, 0, 113, number + 1].into()];
        }
        made.node_addresses = vec![[192, 168, 0, 1].into(), [192, 168, 0, 2].into()];
        for (port, endpoints) in made.ports.iter_mut().zip([tcp, udp]) {
            port.endpoints = endpoints;
            port.by_request = by_request && port.protocol == Protocol::Tcp;
            port.node_port = node_port.then_some(30000 + u16::from(number));
        }
        made
    })
}

fn any_backends(port: u16) -> impl Strategy<Value = Vec<Backend>> {
    let backend = (prop::option::weighted(0.8, 0..SERVICES), 0..4u32);
    prop::collection::vec(backend.prop_map(move |(to, weight)| backend_at(to, port, weight)), 0..4)
}

fn any_routed(protocol: Protocol, port: u16) -> impl Strategy<Value = Routed> {
    (any_backends(port), 0..4u8).prop_map(move |(backends, kind)| match kind {
        0 if protocol == Protocol::Tcp => requests(backends),
        1 if protocol == Protocol::Tcp => {
            Routed::ServerNames(Arc::new((SniTable::default(), vec![rule(backends)])))
        }
        2 => Routed::Connections(None),
        _ => connections(backends),
    })
}

fn any_routes(number: u8) -> impl Strategy<Value = ServiceRoutes> {
    let port = move |(protocol, port): (Protocol, u16)| {
        let table = || prop::option::of(any_routed(protocol, port));
        (table(), table(), table()).prop_map(move |(producer, bank, mail)| {
            let consumers = [("bank", bank), ("mail", mail)].into_iter();
            let consumers = consumers.filter_map(|(namespace, table)| Some((namespace, table?))).collect();
            routes(number, (protocol, port), producer, consumers)
        })
    };
    (port(PORTS[0]), prop::option::of(port(PORTS[1]))).prop_map(|(tcp, udp)| {
        let more = udp.into_iter().flat_map(|routes| routes.ports);
        ServiceRoutes { ports: tcp.ports.into_iter().chain(more).collect(), ..tcp }
    })
}
