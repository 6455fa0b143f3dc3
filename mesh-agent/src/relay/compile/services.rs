//! A Service and its routes, as entries of one port and address family each.
//!
//! | entry | dialled at | leads to |
//! |---|---|---|
//! | the producer's | the port at cluster addresses | what the producer's routes say, or the Service's own endpoints |
//! | a consumer's | the same, by callers of one namespace | what that namespace's routes say |
//! | the outside's | the port at external and load-balancer addresses, the node port | the Service's own endpoints: routes do not apply (SEMANTICS 8) |
//!
//! Routes of requests and of server names are the agent's to follow ([`Flags::ENGINE`]). Those of
//! connections are followed by the kernel's pick ([`shares`](super::shares)). Endpoints of the other family are
//! not picked.

use std::net::IpAddr;

use mesh_ebpf::abi::Service as Flags;
use mesh_l7::table::PortRoutes;

use super::shares::{Shares, shares};
use super::{hash_of, namespace_hash};
use crate::handover::{EndpointEntry, ServiceEntry};
use crate::relay::resource::{Protocol, Routed, Service, ServicePort, ServiceRoutes};

/// Gives the Service of a resource name, for the backends of routes.
pub(crate) type Backends<'a> = dyn Fn(&str) -> Option<&'a Service> + 'a;

/// The entries of one port of a Service.
pub(crate) fn port_entries(
    service: &Service,
    port: &ServicePort,
    routes: Option<&ServiceRoutes>,
    backends: &Backends<'_>,
) -> Vec<ServiceEntry> {
    let routes = routes.and_then(|routes| routes.port(port.protocol, port.port));
    [true, false].into_iter().flat_map(|v4| Family { service, port, v4 }.entries(routes, backends)).collect()
}

/// One port of a Service, as it is dialled by addresses of one family.
struct Family<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    v4: bool,
}

impl Family<'_> {
    fn entries(&self, routes: Option<&PortRoutes<Routed>>, backends: &Backends<'_>) -> Vec<ServiceEntry> {
        let mut entries = Vec::new();
        let inside = self.at(&self.service.addresses, self.port.port);
        if !inside.is_empty() {
            let mut consumers = routes.into_iter().flat_map(PortRoutes::consumers).peekable();
            let mut own = self.routed(&[], routes.and_then(PortRoutes::producer), backends);
            own.frontends = inside;
            if consumers.peek().is_some() {
                own.flags |= Flags::CONSUMERS;
            }
            let id = own.id;
            entries.push(own);
            entries.extend(consumers.map(|(namespace, routed)| ServiceEntry {
                consumer_of: Some((id, namespace_hash(namespace))),
                ..self.routed(&["consumer", namespace], Some(routed), backends)
            }));
        }
        let mut outside = self.at(&self.service.external_addresses, self.port.port);
        if let Some(node_port) = self.port.node_port {
            outside.extend(self.at(&self.service.node_addresses, node_port));
        }
        if !outside.is_empty() {
            outside.sort_unstable();
            outside.dedup();
            entries.push(ServiceEntry { frontends: outside, ..self.entry(&["outside"], 0, self.own()) });
        }
        entries
    }

    /// What a table makes of the port; none leaves it as it is.
    fn routed(&self, which: &[&str], routed: Option<&Routed>, backends: &Backends<'_>) -> ServiceEntry {
        match routed {
            None if self.port.by_request && self.port.protocol == Protocol::Tcp => {
                self.entry(which, Flags::ENGINE, self.own())
            }
            None => self.entry(which, 0, self.own()),
            Some(Routed::Requests(_) | Routed::ServerNames(_)) => {
                self.entry(which, Flags::ENGINE, self.own())
            }
            Some(Routed::Connections(rule)) => {
                let endpoints = |backend: &str, port: u16| {
                    let ports = &backends(backend)?.ports;
                    ports
                        .iter()
                        .find(|known| known.protocol == self.port.protocol && known.port == port)
                        .map(|port| self.endpoints(port))
                };
                let shares = rule.as_deref().map(|rule| shares(rule, &endpoints)).unwrap_or_default();
                self.entry(which, 0, shares)
            }
        }
    }

    fn entry(&self, which: &[&str], flags: u32, shares: Shares) -> ServiceEntry {
        let Self { service, port, v4 } = *self;
        let number = port.port.to_string();
        let protocol = match port.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        let family = if v4 { "IPv4" } else { "IPv6" };
        let parts = [&service.namespace, &service.name, number.as_str(), protocol, family];
        ServiceEntry {
            id: hash_of(&[&parts[..], which].concat()),
            name: format!("{}/{}:{}", service.namespace, service.name, port.port),
            frontends: Vec::new(),
            consumer_of: None,
            flags,
            protocol: port.protocol.number(),
            affinity_seconds: service.affinity_seconds,
            endpoints: shares.endpoints,
            closed: shares.closed,
        }
    }

    fn own(&self) -> Shares {
        Shares { endpoints: self.endpoints(self.port), closed: 0 }
    }

    fn endpoints(&self, port: &ServicePort) -> Vec<EndpointEntry> {
        let of_family = |endpoint: &&EndpointEntry| endpoint.address.is_ipv4() == self.v4;
        let mut endpoints: Vec<_> = port.endpoints.iter().filter(of_family).copied().collect();
        endpoints.sort_unstable();
        endpoints.shrink_to_fit();
        endpoints
    }

    /// Where a port is dialled, of addresses of any family.
    fn at(&self, addresses: &[IpAddr], port: u16) -> Vec<(IpAddr, u16)> {
        let of_family = addresses.iter().filter(|address| address.is_ipv4() == self.v4);
        let mut frontends: Vec<_> = of_family.map(|&address| (address, port)).collect();
        frontends.sort_unstable();
        frontends.dedup();
        frontends.shrink_to_fit();
        frontends
    }
}
