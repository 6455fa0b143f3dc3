//! What the packet checks need to know of a frame, read with bounded work.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use mesh_ebpf::{
    abi::{FlowKey, TCP, UDP},
    address::Address,
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const ICMPV6: u8 = 58;
/// Extension headers walked before a packet is called malformed; RFC 8200 names six that a
/// destination may see, of which encapsulation and authentication are protocols of their own here.
const EXTENSIONS: usize = 4;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A frame, by what the checks do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// TCP that opens a connection.
    Syn = 1,
    /// Other TCP.
    Segment = 2,
    /// UDP.
    Datagram = 3,
    /// A later fragment, without ports.
    Fragment = 4,
    /// Any other IP protocol.
    OtherProtocol = 5,
    /// ARP.
    Arp = 6,
    /// IPv6 neighbour discovery.
    Neighbour = 7,
    /// Neither IP nor ARP.
    NotIp = 8,
    /// Cannot be judged.
    Malformed = 9,
}

/// Reads the frame into `tuple`: addresses always where there are any, ports where there are.
#[inline(always)]
pub fn read(ctx: &TcContext, tuple: &mut FlowKey) -> Kind {
    match parse(ctx.skb.skb, tuple) {
        1 => Kind::Syn,
        2 => Kind::Segment,
        3 => Kind::Datagram,
        4 => Kind::Fragment,
        5 => Kind::OtherProtocol,
        6 => Kind::Arp,
        7 => Kind::Neighbour,
        8 => Kind::NotIp,
        _ => Kind::Malformed,
    }
}

/// A function of its own, so that its buffers do not stay on the stack of the program.
#[inline(never)]
fn parse(skb: *mut __sk_buff, tuple: &mut FlowKey) -> u64 {
    classify(&TcContext::new(skb), tuple) as u64
}

#[inline(always)]
fn classify(ctx: &TcContext, tuple: &mut FlowKey) -> Kind {
    // SAFETY: the context's packet; both fields are plain words.
    let (protocol, tagged) = unsafe {
        let skb: *const __sk_buff = ctx.skb.skb;
        (
            core::ptr::read_volatile(&raw const (*skb).protocol),
            core::ptr::read_volatile(&raw const (*skb).vlan_present),
        )
    };
    if tagged != 0 {
        return Kind::Malformed;
    }
    match u16::from_be(protocol as u16) {
        ETHERTYPE_IPV4 => ipv4(ctx, tuple),
        ETHERTYPE_IPV6 => ipv6(ctx, tuple),
        ETHERTYPE_ARP => arp(ctx, tuple),
        // A tag that the driver left in the frame would hide an address from the checks.
        0x8100 | 0x88a8 => Kind::Malformed,
        _ => Kind::NotIp,
    }
}

#[inline(always)]
fn ipv4(ctx: &TcContext, tuple: &mut FlowKey) -> Kind {
    let Ok(header) = ctx.load::<[u8; IPV4]>(ETHERNET) else {
        return Kind::Malformed;
    };
    tuple.source = Address::v4([header[12], header[13], header[14], header[15]]);
    tuple.destination = Address::v4([header[16], header[17], header[18], header[19]]);
    tuple.protocol = header[9];
    let length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || length < IPV4 {
        return Kind::Malformed;
    }
    if header[6] & 0x1f != 0 || header[7] != 0 {
        return Kind::Fragment;
    }
    transport(ctx, ETHERNET + length, tuple)
}

#[inline(always)]
fn ipv6(ctx: &TcContext, tuple: &mut FlowKey) -> Kind {
    let Ok(header) = ctx.load::<[u8; IPV6]>(ETHERNET) else {
        return Kind::Malformed;
    };
    if header[0] >> 4 != 6 {
        return Kind::Malformed;
    }
    let mut index = 0;
    while index < 16 {
        tuple.source.0[index] = header[8 + index];
        tuple.destination.0[index] = header[24 + index];
        index += 1;
    }
    let mut next = header[6];
    let mut offset = ETHERNET + IPV6;
    let mut walked = 0;
    while walked < EXTENSIONS {
        match next {
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let Ok(extension) = ctx.load::<[u8; 2]>(offset) else {
                    return Kind::Malformed;
                };
                next = extension[0];
                offset += (usize::from(extension[1]) + 1) * 8;
            }
            FRAGMENT => {
                let Ok(extension) = ctx.load::<[u8; 4]>(offset) else {
                    return Kind::Malformed;
                };
                tuple.protocol = extension[0];
                if extension[2] != 0 || extension[3] & 0xf8 != 0 {
                    return Kind::Fragment;
                }
                next = extension[0];
                offset += 8;
            }
            // Source routing would take the packet to another destination than it names.
            ROUTING => return Kind::Malformed,
            _ => {
                tuple.protocol = next;
                return transport(ctx, offset, tuple);
            }
        }
        walked += 1;
    }
    Kind::Malformed
}

#[inline(always)]
fn transport(ctx: &TcContext, offset: usize, tuple: &mut FlowKey) -> Kind {
    match tuple.protocol {
        TCP => {
            let Ok(header) = ctx.load::<[u8; 14]>(offset) else {
                return Kind::Malformed;
            };
            tuple.source_port = u16::from_be_bytes([header[0], header[1]]);
            tuple.destination_port = u16::from_be_bytes([header[2], header[3]]);
            if header[13] & (SYN | ACK) == SYN { Kind::Syn } else { Kind::Segment }
        }
        UDP => {
            let Ok(header) = ctx.load::<[u8; 4]>(offset) else {
                return Kind::Malformed;
            };
            tuple.source_port = u16::from_be_bytes([header[0], header[1]]);
            tuple.destination_port = u16::from_be_bytes([header[2], header[3]]);
            Kind::Datagram
        }
        ICMPV6 => neighbour(ctx, offset, tuple),
        _ => Kind::OtherProtocol,
    }
}

/// Neighbour discovery (RFC 4861): an advertisement's target is what it claims, so it takes the
/// place of the source; router messages and redirects are never a pod's to send.
#[inline(always)]
fn neighbour(ctx: &TcContext, offset: usize, tuple: &mut FlowKey) -> Kind {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    const REDIRECT: u8 = 137;
    let Ok(kind) = ctx.load::<u8>(offset) else {
        return Kind::Malformed;
    };
    match kind {
        ROUTER_ADVERTISEMENT | REDIRECT => Kind::Malformed,
        SOLICITATION => Kind::Neighbour,
        ADVERTISEMENT => {
            let Ok(target) = ctx.load::<[u8; 16]>(offset + 8) else {
                return Kind::Malformed;
            };
            let mut index = 0;
            while index < 16 {
                tuple.source.0[index] = target[index];
                index += 1;
            }
            Kind::Neighbour
        }
        _ => Kind::OtherProtocol,
    }
}

#[inline(always)]
fn arp(ctx: &TcContext, tuple: &mut FlowKey) -> Kind {
    // Hardware and protocol types and sizes, operation, sender's addresses (RFC 826).
    let Ok(header) = ctx.load::<[u8; 18]>(ETHERNET) else {
        return Kind::Malformed;
    };
    if header[2] != 0x08 || header[3] != 0 || header[4] != 6 || header[5] != 4 {
        return Kind::Malformed;
    }
    tuple.source = Address::v4([header[14], header[15], header[16], header[17]]);
    Kind::Arp
}

/// ICMP and ICMPv6 messages that connections need: errors, and neighbour discovery.
#[inline(always)]
pub fn is_icmp(protocol: u8) -> bool {
    protocol == 1 || protocol == ICMPV6
}
