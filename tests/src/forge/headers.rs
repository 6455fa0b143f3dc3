//! Transport and network headers as bytes, each checksum right: what is tested is never refused for a slip here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A TCP flag octet with only SYN (RFC 9293, 3.1).
pub(super) const SYN: u8 = 0x02;
/// ACK alone.
pub(super) const ACK: u8 = 0x10;
/// RST alone.
pub(super) const RST: u8 = 0x04;

const TTL: u8 = 64;

/// An IPv6 extension header to put before the payload (RFC 8200, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Extension {
    /// Hop-by-hop options: padding only.
    HopByHop,
    /// Destination options: padding only.
    Destination,
    /// A routing header of an unassigned type with no segments left, which a destination skips.
    Routing,
}

impl Extension {
    /// Its protocol number.
    fn number(self) -> u8 {
        match self {
            Self::HopByHop => 0,
            Self::Destination => 60,
            Self::Routing => 43,
        }
    }

    /// Its eight bytes.
    fn bytes(self, next: u8) -> [u8; 8] {
        match self {
            // PadN of four bytes fills an options header.
            Self::HopByHop | Self::Destination => [next, 0, 1, 4, 0, 0, 0, 0],
            Self::Routing => [next, 0, 253, 0, 0, 0, 0, 0],
        }
    }
}

/// A TCP segment.
pub(super) fn tcp(
    source: SocketAddr,
    destination: SocketAddr,
    flags: u8,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + payload.len());
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0; 4]);
    // Header length in 32-bit words, then the flags and the window.
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let sum = checksum(source.ip(), destination.ip(), 6, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// A UDP datagram.
pub(super) fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend(source.port().to_be_bytes());
    datagram.extend(destination.port().to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(payload);
    let sum = checksum(source.ip(), destination.ip(), 17, &datagram);
    // Zero would mean that there is none (RFC 768).
    let sum = if sum == 0 { 0xffff } else { sum };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// An IPv4 packet; `offset` in units of eight bytes and `more` say which fragment it is.
pub(super) fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    offset: u16,
    more: bool,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(20 + payload.len());
    packet.extend([0x45, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend(FRAGMENT_ID.to_be_bytes());
    packet.extend((u16::from(more) << 13 | offset).to_be_bytes());
    packet.extend([TTL, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = fold(add(0, &packet));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Ties the fragments of one packet together.
const FRAGMENT_ID: u16 = 0x4d45;

/// An IPv6 packet with `extensions` before the payload.
pub(super) fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    extensions: &[Extension],
    payload: &[u8],
) -> Vec<u8> {
    let mut chain = Vec::new();
    for (position, extension) in extensions.iter().enumerate() {
        let next = extensions.get(position + 1).map_or(protocol, |following| following.number());
        chain.extend(extension.bytes(next));
    }
    let first = extensions.first().map_or(protocol, |extension| extension.number());
    ipv6_header(source, destination, first, &[&chain, payload].concat())
}

/// One fragment of an IPv6 packet.
pub(super) fn ipv6_fragment(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    offset: u16,
    more: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = vec![protocol, 0];
    body.extend((offset << 3 | u16::from(more)).to_be_bytes());
    body.extend(u32::from(FRAGMENT_ID).to_be_bytes());
    body.extend(payload);
    ipv6_header(source, destination, 44, &body)
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(40 + body.len());
    packet.extend([0x60, 0, 0, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend([next, TTL]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(body);
    packet
}

/// An unsolicited neighbour advertisement (RFC 4861, 4.4) that claims `target` for `mac`.
pub(super) fn advertisement(target: Ipv6Addr, mac: [u8; 6], destination: Ipv6Addr) -> Vec<u8> {
    // Type 136, code 0, checksum, flag Override.
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(target.octets());
    // Option 2: target link-layer address, one unit of eight bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let sum = checksum(target.into(), destination.into(), 58, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The checksum with the pseudo-header of either family (RFC 9293, 3.1; RFC 8200, 8.1).
fn checksum(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> u16 {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
        (source, destination) => [sixteen(source), sixteen(destination)].concat(),
    };
    fold(add(add(u32::from(protocol) + (length >> 16) + (length & 0xffff), &addresses), body))
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn add(sum: u32, bytes: &[u8]) -> u32 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    words.fold(sum, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let packet = ipv4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, 0, false, &[]);
        assert_eq!(fold(add(0, &packet)), 0);
        let (source, destination) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let segment = tcp(source, destination, SYN, 7, b"odd");
        assert_eq!(checksum(source.ip(), destination.ip(), 6, &segment), 0);
        let (source, destination) = ("[fd00::1]:1".parse().unwrap(), "[fd00::2]:2".parse().unwrap());
        let datagram = udp(source, destination, b"hello");
        assert_eq!(checksum(source.ip(), destination.ip(), 17, &datagram), 0);
    }

    #[test]
    fn extension_headers_name_what_follows() {
        let chain = [Extension::HopByHop, Extension::Routing];
        let packet = ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, 17, &chain, &[]);
        assert_eq!((packet[6], packet[40], packet[48]), (0, 43, 17));
    }
}
