//! Interfaces: which of the node's lead into which pod, and what of a pod leads past them.
//!
//! A pod's interface is one end of a veth pair; its other end, the host side, is in the node's
//! namespace, and everything the pod sends arrives there. The two are joined by what both sides
//! say (index of the peer, number of its namespace), never by name.

mod uplink;
pub(super) mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use mesh_ebpf::address::Address;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{Ask, Netlink};
use crate::sys::netns::Netns;

use uplink::Routes;

/// An interface, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index in its namespace.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: Kind,
    /// Index of the interface it is joined to or made upon, in that one's namespace.
    pub(super) peer: Option<u32>,
    /// Number of the peer's namespace as this namespace numbers others; none when it is the same.
    pub(super) peer_netns: Option<i32>,
}

/// What an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One end of a pair.
    Veth,
    /// The loopback interface.
    Loopback,
    /// Made upon an interface that may be in another namespace: macvlan, ipvlan, vlan.
    Upper,
    /// Hardware, or what looks like it.
    Device,
    /// Made of software: bridge, dummy, tunnel.
    Software,
}

/// The node's interfaces and how it numbers other namespaces.
#[derive(Debug)]
pub(super) struct NodeInterfaces {
    netlink: Netlink,
    /// Its routes, once they were asked for.
    routes: Option<Routes>,
    /// All of them, by index.
    pub(super) all: BTreeMap<u32, Interface>,
}

impl NodeInterfaces {
    /// Asks in the calling thread's namespace.
    ///
    /// # Errors
    /// When netlink fails.
    pub(super) fn read() -> io::Result<Self> {
        let mut netlink = Netlink::open(NETLINK_ROUTE)?;
        let all = links(&mut netlink)?.into_iter().map(|one| (one.index, one)).collect();
        Ok(Self { netlink, routes: None, all })
    }

    /// The host sides of a pod's interfaces.
    ///
    /// # Errors
    /// When netlink fails.
    pub(super) fn leading_into(&mut self, netns: &Netns) -> io::Result<BTreeSet<u32>> {
        let Some(number) = namespace_number(&mut self.netlink, netns)? else {
            return Ok(BTreeSet::new());
        };
        Ok(self
            .all
            .values()
            .filter(|one| one.kind == Kind::Veth && one.peer_netns == Some(number))
            .map(|one| one.index)
            .collect())
    }

    /// Ends of veth pairs whose other end is in another namespace.
    pub(super) fn veths(&self) -> impl Iterator<Item = &Interface> {
        self.all.values().filter(|one| one.kind == Kind::Veth && one.peer_netns.is_some())
    }

    /// The interfaces that lead to other nodes (see [`uplink`]).
    ///
    /// # Errors
    /// When netlink fails.
    pub(super) fn uplinks(&mut self) -> io::Result<BTreeSet<u32>> {
        Ok(self.routes()?.uplinks())
    }

    /// The addresses that the node has host routes to by these interfaces (see [`uplink`]).
    ///
    /// # Errors
    /// When netlink fails.
    pub(super) fn behind(&mut self, interfaces: &BTreeSet<u32>) -> io::Result<Vec<IpAddr>> {
        Ok(self.routes()?.behind(interfaces))
    }

    fn routes(&mut self) -> io::Result<&Routes> {
        let routes = match self.routes.take() {
            Some(routes) => routes,
            None => Routes::read(&mut self.netlink)?,
        };
        Ok(self.routes.insert(routes))
    }
}

/// What is inside a pod's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inside {
    /// Addresses of its interfaces.
    pub(super) addresses: BTreeSet<Address>,
    /// Interfaces by which packets leave without passing a host side: their names.
    pub(super) past_the_host_side: Vec<String>,
}

/// Looks inside a pod's namespace.
///
/// # Errors
/// When the namespace is gone or netlink fails.
pub(super) fn inside(netns: &Netns) -> io::Result<Inside> {
    netns.within(|| {
        let mut netlink = Netlink::open(NETLINK_ROUTE)?;
        let past_the_host_side = links(&mut netlink)?
            .into_iter()
            .filter(|one| match one.kind {
                // Software too may have its other end elsewhere: netkit is a pair like veth, but its
                // host side need not be where packets pass.
                Kind::Upper | Kind::Software => one.peer_netns.is_some(),
                Kind::Device => true,
                Kind::Veth | Kind::Loopback => false,
            })
            .map(|one| one.name)
            .collect();
        Ok(Inside { addresses: addresses(&mut netlink)?, past_the_host_side })
    })?
}

fn links(netlink: &mut Netlink) -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
    netlink.ask(question, Ask::Dump, |answer: RouteNetlinkMessage| {
        if let RouteNetlinkMessage::NewLink(link) = answer {
            found.push(interface(&link));
        }
    })?;
    Ok(found)
}

fn interface(link: &LinkMessage) -> Interface {
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        kind: Kind::Device,
        peer: None,
        peer_netns: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Link(peer) => interface.peer = Some(*peer),
            LinkAttribute::LinkNetNsId(number) => interface.peer_netns = Some(*number),
            LinkAttribute::LinkInfo(infos) => {
                if let Some(kind) = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                }) {
                    interface.kind = kind_of(kind);
                }
            }
            _ => {}
        }
    }
    if link.header.link_layer_type == LinkLayerType::Loopback {
        interface.kind = Kind::Loopback;
    }
    interface
}

fn kind_of(kind: &InfoKind) -> Kind {
    match kind {
        InfoKind::Veth => Kind::Veth,
        InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan | InfoKind::IpVtap | InfoKind::Vlan => {
            Kind::Upper
        }
        _ => Kind::Software,
    }
}

fn addresses(netlink: &mut Netlink) -> io::Result<BTreeSet<Address>> {
    let mut found = BTreeSet::new();
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    netlink.ask(question, Ask::Dump, |answer: RouteNetlinkMessage| {
        if let RouteNetlinkMessage::NewAddress(address) = answer {
            for attribute in &address.attributes {
                // On a point-to-point interface the one is its own, the other its peer's.
                if let AddressAttribute::Local(ip) | AddressAttribute::Address(ip) = attribute {
                    found.insert(Address::from(*ip));
                }
            }
        }
    })?;
    found.retain(|address| !IpAddr::from(*address).is_loopback());
    Ok(found)
}

/// The number by which the asking namespace knows another.
fn namespace_number(netlink: &mut Netlink, netns: &Netns) -> io::Result<Option<i32>> {
    let mut question = NsidMessage::default();
    question.header.family = AddressFamily::Unspec;
    let fd = std::os::fd::AsFd::as_fd(netns).as_raw_fd().cast_unsigned();
    question.attributes.push(NsidAttribute::Fd(fd));
    let mut number = None;
    netlink.ask(RouteNetlinkMessage::GetNsId(question), Ask::One, |answer: RouteNetlinkMessage| {
        if let RouteNetlinkMessage::NewNsId(message) = answer {
            number = message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                _ => None,
            });
        }
    })?;
    Ok(number)
}
