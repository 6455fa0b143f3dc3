//! The route that makes the IPv6 addresses of redirection a pod's own, as all of `127.0.0.0/8` is
//! already.

use std::io;
use std::net::Ipv6Addr;

use mesh_ebpf::address::{Address, REDIRECT_V6_PREFIX};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{Ask, Netlink};

/// Table of a namespace's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u8 = 255;
/// Index of the loopback interface, the same in every namespace.
const LOOPBACK: u32 = 1;

/// Makes `fdc7:3ab1:5e20::/64` local in the calling thread's namespace, unless it is, or IPv6 is
/// switched off there and no connection of that family can be made.
///
/// # Errors
/// When the kernel refuses: `ENETDOWN` while the loopback is not up.
pub(super) fn ensure() -> io::Result<()> {
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    let route = RouteNetlinkMessage::NewRoute(route());
    match netlink.ask(route, Ask::Make, |_: RouteNetlinkMessage| {}) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // `disable_ipv6` of the loopback.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        other => other,
    }
}

fn route() -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: AddressFamily::Inet6,
        destination_prefix_length: REDIRECT_V6_PREFIX,
        table: LOCAL_TABLE,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Destination(network()), RouteAttribute::Oif(LOOPBACK)];
    route
}

/// The first 64 bits of any redirected address.
fn network() -> RouteAddress {
    let Address(redirected) = Address::redirect(false, 0, 0);
    let mask = u128::MAX << (128 - u32::from(REDIRECT_V6_PREFIX));
    RouteAddress::Inet6(Ipv6Addr::from_bits(u128::from_be_bytes(redirected) & mask))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteAddress;

    #[test]
    fn the_route_covers_every_redirected_address() {
        let network = "fdc7:3ab1:5e20::".parse().unwrap();
        assert_eq!(super::network(), RouteAddress::Inet6(network));
    }
}
