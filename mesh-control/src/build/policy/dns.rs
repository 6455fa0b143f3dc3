//! The rule that keeps name resolution alive under an egress policy (SEMANTICS 5.6).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use mesh_api::{
    crd::Protocol,
    resources::{self, Mtls, Rule, Tier},
};

use super::{
    super::{service::ServiceView, settings::SINGLETON},
    peers::exactly,
};

/// The rules that admit the cluster's DNS, one a protocol.
pub(in super::super) type DnsRule = Arc<[Rule]>;

/// The address of the node-local DNS cache.
const NODE_LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));

/// DNS's port.
const PORT: u16 = 53;

/// Whether a Service is the cluster's DNS.
pub(in super::super) fn is_cluster_dns(service: &ServiceView) -> bool {
    service.name.namespace == "kube-system" && (service.name.name == "kube-dns" || service.labelled_dns)
}

/// Admits the DNS Services' addresses on port 53, every endpoint behind it, and the node-local
/// cache.
pub(in super::super) fn dns_rule<'a>(services: impl Iterator<Item = &'a ServiceView>) -> DnsRule {
    let mut endpoints: [(Protocol, BTreeSet<(IpAddr, u16)>); 2] =
        [Protocol::Udp, Protocol::Tcp].map(|protocol| (protocol, BTreeSet::from([(NODE_LOCAL, PORT)])));
    for service in services.filter(|service| is_cluster_dns(service)) {
        for (protocol, endpoints) in &mut endpoints {
            endpoints.extend(service.cluster_addresses.iter().map(|address| (*address, PORT)));
            let ports = service.ports.iter().filter(|port| port.protocol == *protocol && port.port == PORT);
            endpoints
                .extend(ports.flat_map(|port| &port.backends).map(|backend| (backend.address, backend.port)));
        }
    }
    let rule = |(protocol, endpoints): &(Protocol, BTreeSet<_>)| {
        let (peer, ports) = exactly(*protocol, endpoints);
        Rule {
            tier: Tier::Access.into(),
            action: resources::Action::Allow.into(),
            audit: false,
            policy: format!("MeshConfig/{SINGLETON}"),
            rule: "allowDNS".to_owned(),
            peers: vec![peer],
            ports,
            mtls: Mtls::Preferred.into(),
            http: Vec::new(),
            grpc: Vec::new(),
        }
    };
    endpoints.iter().map(rule).collect()
}
