//! What the node's routes tell of its interfaces: which lead to other nodes, and which addresses
//! are behind one.
//!
//! In most places an uplink is hardware and nobody would take it for a pod's. Where the node is
//! itself in a namespace (the testbed, Kubernetes in containers) it is a veth like any pod's, and
//! source validation on it would drop what other nodes' pods send. What tells them apart is
//! routing: a pod's host side has host routes at most; an uplink has a gateway or a subnet behind it.
//!
//! A host route to a pod's interface is set by the CNI plugin, in the node's namespace and out of
//! the pod's reach, so it says what the pod's address is, and says so before anybody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
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
    /// Where to; none for everywhere.
    to: Option<IpAddr>,
}

impl Route {
    fn leads_to_other_nodes(self) -> bool {
        !self.link_local && (self.gateway || !self.one_host)
    }

    /// The address of the host that is right behind the interface.
    fn neighbour(self) -> Option<IpAddr> {
        self.to.filter(|_| self.one_host && !self.gateway && !self.link_local)
    }
}

/// The node's routes.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Routes(Vec<Route>);

impl Routes {
    /// Reads them.
    ///
    /// # Errors
    /// When netlink fails.
    pub(in super::super) fn read(netlink: &mut Netlink) -> io::Result<Self> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            netlink.ask(
                RouteNetlinkMessage::GetRoute(question),
                Ask::Dump,
                |answer: RouteNetlinkMessage| {
                    if let RouteNetlinkMessage::NewRoute(message) = answer {
                        all.extend(routes(&message));
                    }
                },
            )?;
        }
        Ok(Self(all))
    }

    /// Indices of the interfaces that lead to other nodes.
    pub(in super::super) fn uplinks(&self) -> BTreeSet<u32> {
        let leading = self.0.iter().filter(|route| route.leads_to_other_nodes());
        leading.map(|route| route.interface).collect()
    }

    /// The addresses of the hosts that are right behind any of these interfaces, one of each family:
    /// of several nobody says which is the pod's, and then none is.
    pub(in super::super) fn behind(&self, interfaces: &BTreeSet<u32>) -> Vec<IpAddr> {
        let mut found: BTreeMap<bool, BTreeSet<IpAddr>> = BTreeMap::new();
        for route in self.0.iter().filter(|route| interfaces.contains(&route.interface)) {
            if let Some(address) = route.neighbour() {
                found.entry(address.is_ipv6()).or_default().insert(address);
            }
        }
        found.into_values().filter(|of_family| of_family.len() == 1).flatten().collect()
    }
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
    let mut to = None;
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = true,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                to = Some(IpAddr::V6(*address));
                link_local =
                    family_v6 && (address.segments()[0] & 0xffc0 == 0xfe80 || address.is_multicast());
            }
            RouteAttribute::MultiPath(next) => hops.extend(next.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    let one_host = header.destination_prefix_length == bits;
    let mut routes: Vec<Route> = interface
        .map(|interface| Route { interface, gateway, one_host, link_local, to })
        .into_iter()
        .collect();
    let hop = |interface| Route { interface, gateway: true, one_host, link_local, to };
    routes.extend(hops.into_iter().map(hop));
    routes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use super::{Route, Routes};

    fn to(interface: u32, address: &str) -> Route {
        let to: Option<IpAddr> = Some(address.parse().unwrap());
        Route { interface, gateway: false, one_host: true, link_local: false, to }
    }

    #[test]
    fn a_gateway_or_a_subnet_makes_an_uplink_and_a_host_route_a_pod() {
        let pod = to(7, "10.0.0.2");
        assert!(!pod.leads_to_other_nodes());
        assert!(!Route { one_host: false, link_local: true, ..pod }.leads_to_other_nodes());
        assert!(Route { one_host: false, ..pod }.leads_to_other_nodes());
        assert!(Route { gateway: true, ..pod }.leads_to_other_nodes());
    }

    #[test]
    fn a_host_route_tells_a_pods_address() {
        let routes = |all: Vec<Route>| Routes(all).behind(&BTreeSet::from([7]));
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap());
        assert_eq!(routes(vec![to(7, "10.0.0.2"), to(8, "10.0.0.3"), to(7, "fd00::2")]), [v4, v6]);
        // The same by two routes is one; of two nobody says which; what is farther is not the pod.
        assert_eq!(routes(vec![to(7, "10.0.0.2"), to(7, "10.0.0.2")]), [v4]);
        assert!(routes(vec![to(7, "10.0.0.2"), to(7, "10.0.0.9")]).is_empty());
        let farther = Route { gateway: true, ..to(7, "10.0.0.2") };
        let subnet = Route { one_host: false, ..to(7, "10.0.0.0") };
        let own = Route { link_local: true, ..to(7, "fe80::1") };
        let everywhere = Route { to: None, ..to(7, "10.0.0.2") };
        assert!(routes(vec![farther, subnet, own, everywhere]).is_empty());
    }
}
