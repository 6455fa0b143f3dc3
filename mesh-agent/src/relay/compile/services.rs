//! A Service, as one entry per port and address family.

use std::net::IpAddr;

use super::hash_of;
use crate::handover::ServiceEntry;
use crate::relay::resource::{Protocol, Service};

/// The entries of a Service: one for each of its ports and each address family it is dialled by.
/// Endpoints of the other family are not picked.
pub(crate) fn service_entries(service: &Service) -> Vec<ServiceEntry> {
    let mut entries = Vec::new();
    for port in &service.ports {
        for v4 in [true, false] {
            let of_family = |address: &&IpAddr| address.is_ipv4() == v4;
            let mut frontends: Vec<(IpAddr, u16)> =
                service.addresses.iter().filter(of_family).map(|&address| (address, port.port)).collect();
            if let Some(node_port) = port.node_port {
                frontends
                    .extend(service.node_addresses.iter().filter(of_family).map(|&node| (node, node_port)));
            }
            if frontends.is_empty() {
                continue;
            }
            frontends.sort_unstable();
            frontends.dedup();
            frontends.shrink_to_fit();
            let mut endpoints: Vec<_> =
                port.endpoints.iter().filter(|endpoint| endpoint.address.is_ipv4() == v4).copied().collect();
            endpoints.sort_unstable();
            endpoints.shrink_to_fit();
            entries.push(ServiceEntry {
                id: hash_of(&[
                    &service.namespace,
                    &service.name,
                    &port.port.to_string(),
                    match port.protocol {
                        Protocol::Tcp => "TCP",
                        Protocol::Udp => "UDP",
                    },
                    if v4 { "IPv4" } else { "IPv6" },
                ]),
                name: format!("{}/{}:{}", service.namespace, service.name, port.port),
                frontends,
                protocol: port.protocol.number(),
                affinity_seconds: service.affinity_seconds,
                endpoints,
            });
        }
    }
    entries
}
