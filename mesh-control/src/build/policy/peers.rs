//! From the entries of `from` and `to` to groups of pods, address ranges and endpoints.

use std::collections::BTreeSet;

use ipnet::IpNet;
use mesh_api::{
    crd::{LabelSelector, PortRef, PortRule, Protocol},
    resources::{self, Cidr, Groups, Peer, PortRange},
};

use super::{
    super::{backends::Backend, narrow::protocol, pods::Group, resource::octets, service::PortView},
    entry::Matcher,
    resolve::World,
};
use crate::objects::ObjectName;

impl Matcher {
    /// Whether pods of this group are meant. `own` is the policy's namespace.
    pub(super) fn matches(&self, group: &Group, own: Option<&str>, world: &World<'_>) -> bool {
        let in_list = |list: &Option<Vec<String>>, value: &String| {
            list.as_ref().is_none_or(|list| list.contains(value))
        };
        let unplaced = self.namespaces.is_none() && self.namespace_selector.is_none();
        // Names and labels of pods are meant within the policy's own namespace, unless one is said.
        let own_only = unplaced && (self.service_accounts.is_some() || self.pods.is_some());
        let placed = !own_only || own.is_none_or(|own| own == group.namespace);
        placed
            && in_list(&self.service_accounts, &group.service_account)
            && in_list(&self.namespaces, &group.namespace)
            && selects(&self.namespace_selector, &world.namespaces.labels(&group.namespace))
            && selects(&self.pods, &group.labels)
            && self.spiffe.as_ref().is_none_or(|patterns| {
                patterns.iter().any(|pattern| {
                    pattern.matches(world.trust_domain, &group.namespace, &group.service_account)
                })
            })
    }
}

fn selects(selector: &Option<LabelSelector>, labels: &std::collections::BTreeMap<String, String>) -> bool {
    selector.as_ref().is_none_or(|selector| selector.matches(labels))
}

/// An entry by identity and address as resources write it.
pub(super) fn peer(groups: Option<Vec<u64>>, cidrs: Option<&Vec<IpNet>>) -> Peer {
    Peer {
        groups: groups.map(|ids| Groups { ids }),
        cidrs: cidrs.into_iter().flatten().map(cidr).collect(),
        endpoints: Vec::new(),
        services: false,
    }
}

fn cidr(net: &IpNet) -> Cidr {
    Cidr { address: octets(net.network()), prefix_length: net.prefix_len().into() }
}

/// Everything that dialling these Services may reach on the ports that a rule selects: their own
/// addresses and every endpoint, whatever its state. One peer and its ports for each protocol.
pub(super) fn services(
    names: &[ObjectName],
    ports: Option<&[PortRule]>,
    world: &World<'_>,
) -> Vec<(Peer, Vec<PortRange>)> {
    let mut found: [(Protocol, BTreeSet<(std::net::IpAddr, u16)>); 2] =
        [(Protocol::Tcp, BTreeSet::new()), (Protocol::Udp, BTreeSet::new())];
    for service in names.iter().filter_map(|name| world.services.get(name)) {
        for port in &service.ports {
            let chosen: Vec<&Backend> = port
                .backends
                .iter()
                .filter(|backend| selects_target(ports, port, backend.port, world))
                .collect();
            // Without endpoints the Service's own number stands for its target.
            let dialled = !chosen.is_empty()
                || (port.backends.is_empty() && selects_target(ports, port, port.port, world));
            let Some((_, endpoints)) = found.iter_mut().find(|(protocol, _)| *protocol == port.protocol)
            else {
                continue;
            };
            endpoints.extend(chosen.iter().map(|backend| (backend.address, backend.port)));
            if dialled {
                let addresses = service.cluster_addresses.iter().chain(&service.external_addresses);
                endpoints.extend(addresses.map(|address| (*address, port.port)));
            }
        }
    }
    let found = found.into_iter().filter(|(_, endpoints)| !endpoints.is_empty());
    found.map(|(protocol, endpoints)| exactly(protocol, &endpoints)).collect()
}

/// A peer of exact endpoints, and their ports.
pub(super) fn exactly(of: Protocol, endpoints: &BTreeSet<(std::net::IpAddr, u16)>) -> (Peer, Vec<PortRange>) {
    let ports: BTreeSet<u16> = endpoints.iter().map(|(_, port)| *port).collect();
    let endpoint = |(address, port): &(std::net::IpAddr, u16)| resources::Endpoint {
        address: octets(*address),
        port: (*port).into(),
        weight: 1,
        enrolled: false,
    };
    let peer = Peer {
        groups: None,
        cidrs: Vec::new(),
        endpoints: endpoints.iter().map(endpoint).collect(),
        services: true,
    };
    (peer, ports.into_iter().map(|port| range(of, port, port)).collect())
}

/// Whether a rule's ports select a target of a Service port: by the container's number, or by the
/// name of the container's or the Service's port.
fn selects_target(ports: Option<&[PortRule]>, service: &PortView, target: u16, world: &World<'_>) -> bool {
    let Some(ports) = ports else { return true };
    ports.iter().filter(|rule| rule.protocol == service.protocol).any(|rule| match &rule.port {
        PortRef::Number(first) => (*first..=rule.end_port.unwrap_or(*first)).contains(&target),
        PortRef::Name(name) => {
            *name == service.name
                || matches!(&service.target, super::super::service::Target::Name(own) if own == name)
                || world.port_names.contains(&(rule.protocol, name.clone(), target))
        }
    })
}

/// A range of ports as resources write it.
pub(super) fn range(of: Protocol, first: u16, last: u16) -> PortRange {
    PortRange { protocol: protocol(of).into(), first: first.into(), last: last.into() }
}
