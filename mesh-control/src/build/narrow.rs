//! A Service as one node sees it.

use mesh_api::{
    crd::Protocol,
    resources::{self, AppProtocol, Endpoint, Service, ServicePort},
};

use super::{
    backends::Backend,
    node::Nodes,
    resource::octets,
    service::ServiceView,
    topology::{for_cluster, for_node},
};

/// What a node is sent of a Service: its own resource, and a second one under the name
/// `<namespace>/<name>/external` where connections from outside addresses are not narrowed to the
/// node as those to the cluster's are.
pub(super) struct Narrowed {
    pub(super) service: Option<Service>,
    pub(super) external: Option<Service>,
}

/// Narrows a Service for clients on a node. The empty node sees it without hints and has nothing
/// of its own.
pub(super) fn narrow(view: &ServiceView, node: &str, nodes: &Nodes) -> Narrowed {
    if view.skipped {
        return Narrowed { service: None, external: None };
    }
    // A node port that stays on its node is reached at that node only.
    let own = |name: &str| !view.external_local || name == node;
    let has_node_port = view.ports.iter().any(|port| port.node_port != 0);
    let node_addresses: Vec<Vec<u8>> = if has_node_port {
        let addresses = nodes.iter().filter(|(name, _)| own(name)).flat_map(|(_, node)| &node.addresses);
        addresses.copied().filter(|address| view.has_family_of(*address)).map(octets).collect()
    } else {
        Vec::new()
    };
    let cluster: Vec<_> = view.cluster_addresses.iter().copied().map(octets).collect();
    let external: Vec<_> = view.external_addresses.iter().copied().map(octets).collect();
    let zone = nodes.zone(node);
    // Kubernetes narrows `internalTrafficPolicy: Local` for the cluster's own addresses only;
    // a pod that dials an outside address takes the whole cluster's backends.
    if view.internal_local {
        let apart = !external.is_empty() || !node_addresses.is_empty();
        let service = assemble(view, cluster, Outside::default(), |backends| for_node(backends, node));
        let outside = Outside { addresses: external, node_addresses };
        let external =
            apart.then(|| assemble(view, Vec::new(), outside, |backends| for_cluster(backends, node, zone)));
        return Narrowed { service: Some(service), external };
    }
    let outside = Outside { addresses: external, node_addresses };
    let service = assemble(view, cluster, outside, |backends| for_cluster(backends, node, zone));
    Narrowed { service: Some(service), external: None }
}

/// Where a Service is dialled beside its cluster addresses.
#[derive(Default)]
struct Outside {
    /// External and load-balancer addresses.
    addresses: Vec<Vec<u8>>,
    /// Addresses that are dialled with the node port.
    node_addresses: Vec<Vec<u8>>,
}

fn assemble<'a>(
    view: &'a ServiceView,
    addresses: Vec<Vec<u8>>,
    outside: Outside,
    choose: impl Fn(&'a [Backend]) -> Vec<&'a Backend>,
) -> Service {
    let ports = view.ports.iter().map(|port| ServicePort {
        name: port.name.clone(),
        protocol: protocol(port.protocol).into(),
        port: port.port.into(),
        node_port: if outside.node_addresses.is_empty() { 0 } else { port.node_port.into() },
        endpoints: choose(&port.backends).into_iter().map(endpoint).collect(),
        app_protocol: port.app_protocol.into(),
        by_request: view.by_request && has_requests(port.app_protocol),
    });
    Service {
        namespace: view.name.namespace.clone(),
        name: view.name.name.clone(),
        addresses,
        ports: ports.collect(),
        external_addresses: outside.addresses,
        node_addresses: outside.node_addresses,
        client_ip_affinity_seconds: view.affinity_seconds,
        round_robin: view.round_robin,
    }
}

/// Whether what is spoken on a port is requests, HTTP's or gRPC's.
const fn has_requests(protocol: AppProtocol) -> bool {
    match protocol {
        AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Grpc | AppProtocol::Websocket => true,
        AppProtocol::Unknown | AppProtocol::Tcp | AppProtocol::Tls => false,
    }
}

fn endpoint(backend: &Backend) -> Endpoint {
    Endpoint {
        address: octets(backend.address),
        port: backend.port.into(),
        weight: 1,
        enrolled: backend.enrolled,
    }
}

/// The protocol as resources write it.
pub(super) fn protocol(protocol: Protocol) -> resources::Protocol {
    match protocol {
        Protocol::Tcp => resources::Protocol::Tcp,
        Protocol::Udp => resources::Protocol::Udp,
    }
}
