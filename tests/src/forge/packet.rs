//! `mesh-forge packet`: TCP, UDP or any other protocol, with the addresses, tags, extension headers and fragments that
//! were asked for.

use std::net::{IpAddr, SocketAddr};

use super::{
    Failure, frame,
    headers::{self, Extension},
    send::{PacketSocket, RawSocket, gateway_mac},
};

/// Options of `mesh-forge packet`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to forge
    #[arg(value_enum)]
    kind: Kind,
    /// Source address and port
    #[arg(long, value_name = "ADDRESS:PORT")]
    source: SocketAddr,
    /// Destination address and port
    #[arg(long, value_name = "ADDRESS:PORT")]
    destination: SocketAddr,
    /// Which way out
    #[arg(long, value_enum, default_value_t = Via::Raw)]
    via: Via,
    /// The interface of a packet socket
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// The number of another protocol
    #[arg(long, default_value_t = 132)]
    protocol: u8,
    /// Tag the frame for this VLAN (packet socket only)
    #[arg(long)]
    vlan: Option<u16>,
    /// Put an IPv6 extension header before the payload; may be repeated
    #[arg(long, value_enum)]
    extension: Vec<Extension>,
    /// Send as fragments
    #[arg(long, value_enum)]
    fragment: Option<Fragment>,
    /// Sequence number of a TCP segment
    #[arg(long, default_value_t = 1000)]
    sequence: u32,
    /// What is in it
    #[arg(long, default_value = "forged")]
    payload: String,
    /// How many times
    #[arg(long, default_value_t = 1)]
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A TCP segment that opens a connection.
    Syn,
    /// A TCP segment with data and ACK.
    Data,
    /// A TCP segment that breaks a connection.
    Rst,
    /// A UDP datagram.
    Udp,
    /// Another IP protocol.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    Raw,
    Packet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fragment {
    /// All fragments, the first with eight bytes of the payload.
    All,
    /// Only what follows the first.
    Rest,
}

/// Bytes of the transport's packet in the first fragment: no TCP header fits, a UDP header does exactly.
const FIRST_FRAGMENT: usize = 8;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let packets = packets(args)?;
    let (mut sent, mut refused) = (0_u32, None);
    let mut note = |outcome: std::io::Result<()>| match outcome {
        Ok(()) => sent += 1,
        Err(error) => refused = Some(error),
    };
    match args.via {
        Via::Raw => {
            let socket = RawSocket::open(args.destination.ip())?;
            for _ in 0..args.count {
                packets.iter().for_each(|packet| note(socket.send(packet, args.destination.ip())));
            }
        }
        Via::Packet => {
            let (socket, gateway) = (PacketSocket::open(&args.interface)?, gateway_mac()?);
            for _ in 0..args.count {
                packets
                    .iter()
                    .for_each(|packet| note(socket.send(&frame::ip(gateway, socket.mac, args.vlan, packet))));
            }
        }
    }
    let error = refused.map_or(String::new(), |error| format!(" error={:?}", error.to_string()));
    println!("sent={sent}{error}");
    Ok(())
}

fn packets(args: &Args) -> Result<Vec<Vec<u8>>, Failure> {
    if args.vlan.is_some() && args.via == Via::Raw {
        return Err(Failure::Arguments("--vlan needs --via packet"));
    }
    let (source, destination, payload) = (args.source, args.destination, args.payload.as_bytes());
    let segment = |flags, payload| (6, headers::tcp(source, destination, flags, args.sequence, payload));
    let (protocol, body) = match args.kind {
        Kind::Syn => segment(headers::SYN, &[][..]),
        Kind::Data => segment(headers::ACK, payload),
        Kind::Rst => segment(headers::RST, &[][..]),
        Kind::Udp => (17, headers::udp(source, destination, payload)),
        Kind::Other => (args.protocol, payload.to_vec()),
    };
    match (source.ip(), destination.ip(), args.fragment) {
        (IpAddr::V4(source), IpAddr::V4(destination), None) => {
            Ok(vec![headers::ipv4(source, destination, protocol, 0, false, &body)])
        }
        (IpAddr::V6(source), IpAddr::V6(destination), None) => {
            Ok(vec![headers::ipv6(source, destination, protocol, &args.extension, &body)])
        }
        (source, destination, Some(fragment)) => {
            if body.len() <= FIRST_FRAGMENT {
                return Err(Failure::Arguments("too short to be fragmented: use a longer --payload"));
            }
            let (first, rest) = body.split_at(FIRST_FRAGMENT);
            let one = |offset, more, part: &[u8]| match (source, destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    Ok(headers::ipv4(source, destination, protocol, offset, more, part))
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    Ok(headers::ipv6_fragment(source, destination, protocol, offset, more, part))
                }
                _ => Err(Failure::Arguments("source and destination are of different families")),
            };
            let rest = one(1, false, rest)?;
            Ok(if fragment == Fragment::Rest { vec![rest] } else { vec![one(0, true, first)?, rest] })
        }
        _ => Err(Failure::Arguments("source and destination are of different families")),
    }
}
