//! Which interfaces lead to other nodes.
//!
//! In most places an uplink is hardware and nobody would take it for a pod's. Where the node is
//! itself in a namespace (the testbed, Kubernetes in containers) it is a veth like any pod's, and
//! source validation on it would drop what other nodes' pods send. What tells them apart is
//! routing: a pod's host side has host routes at most; an uplink has a gateway or a subnet behind it.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::netlink::{Ask, Netlink};

/// A route, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    interface: u32,
    gateway: bool,
    /// Of how many hosts: the prefix is the whole address.
    one_host: bool,
    link_local: bool,
}

impl Route {
    fn leads_to_other_nodes(self) -> bool {
        !self.link_local && (self.gateway || !self.one_host)
    }
}

/// Indices of the interfaces that lead to other nodes.
///
/// # Errors
/// When netlink fails.
pub(in super::super) fn uplinks(netlink: &mut Netlink) -> io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        netlink.ask(RouteNetlinkMessage::GetRoute(question), Ask::Dump, |answer: RouteNetlinkMessage| {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                found.extend(
                    routes(&message)
                        .into_iter()
                        .filter(|route| route.leads_to_other_nodes())
                        .map(|route| route.interface),
                );
            }
        })?;
    }
    Ok(found)
}

fn routes(message: &RouteMessage) -> Vec<Route> {
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
        return Vec::new();
    }
    let (bits, family_v6) = match header.address_family {
        AddressFamily::Inet => (32, false),
        _ => (128, true),
    };
    let mut interface = None;
    let mut gateway = false;
    let mut link_local = false;
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = true,
            RouteAttribute::Destination(netlink_packet_route::route::RouteAddress::Inet6(to)) => {
                link_local = family_v6 && (to.segments()[0] & 0xffc0 == 0xfe80 || to.is_multicast());
            }
            RouteAttribute::MultiPath(next) => hops.extend(next.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    let one_host = header.destination_prefix_length == bits;
    let mut routes: Vec<Route> =
        interface.map(|interface| Route { interface, gateway, one_host, link_local }).into_iter().collect();
    routes.extend(hops.into_iter().map(|interface| Route { interface, gateway: true, one_host, link_local }));
    routes
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn a_gateway_or_a_subnet_makes_an_uplink_and_a_host_route_a_pod() {
        let pod = Route { interface: 7, gateway: false, one_host: true, link_local: false };
        assert!(!pod.leads_to_other_nodes());
        assert!(!Route { one_host: false, link_local: true, ..pod }.leads_to_other_nodes());
        assert!(Route { one_host: false, ..pod }.leads_to_other_nodes());
        assert!(Route { gateway: true, ..pod }.leads_to_other_nodes());
    }
}
