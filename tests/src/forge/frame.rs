//! Ethernet frames around packets, and ARP.

use std::net::Ipv4Addr;

/// The address that every station takes for its own.
pub(super) const BROADCAST: [u8; 6] = [0xff; 6];

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;

/// A frame with an IP packet of either family, with a VLAN tag if wanted (IEEE 802.1Q).
pub(super) fn ip(to: [u8; 6], from: [u8; 6], vlan: Option<u16>, packet: &[u8]) -> Vec<u8> {
    let kind = if packet.first().is_some_and(|first| first >> 4 == 6) { IPV6 } else { IPV4 };
    let mut frame = [to, from].concat();
    if let Some(id) = vlan {
        frame.extend(VLAN.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// A gratuitous ARP message (RFC 5227, 3) that claims `address` for `mac`: 1 is a request, 2 a reply.
pub(super) fn arp(mac: [u8; 6], address: Ipv4Addr, operation: u16) -> Vec<u8> {
    let mut frame = [BROADCAST, mac].concat();
    frame.extend(ARP.to_be_bytes());
    // Ethernet, IPv4, and the lengths of their addresses.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(BROADCAST);
    frame.extend(address.octets());
    frame
}
