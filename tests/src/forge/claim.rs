//! `mesh-forge claim`: says to every neighbour that somebody's address is ours.

use std::net::{IpAddr, Ipv6Addr};

use super::{Failure, frame, headers, send::PacketSocket};

/// Options of `mesh-forge claim`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address to claim
    address: IpAddr,
    /// Out of which interface
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// How many times
    #[arg(long, default_value_t = 1)]
    count: u32,
}

/// Every node of the link (RFC 4291, 2.7.1), and its Ethernet address (RFC 2464, 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// What a receiver of neighbour discovery insists on, as proof that no router passed it on (RFC 4861, 7.1.2).
const HOP_LIMIT: u8 = 255;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let socket = PacketSocket::open(&args.interface)?;
    let frames = match args.address {
        // Some listen to requests, some to replies.
        IpAddr::V4(address) => vec![frame::arp(socket.mac, address, 1), frame::arp(socket.mac, address, 2)],
        IpAddr::V6(address) => {
            let message = headers::advertisement(address, socket.mac, ALL_NODES);
            let mut packet = headers::ipv6(address, ALL_NODES, 58, &[], &message);
            packet[7] = HOP_LIMIT;
            vec![frame::ip(ALL_NODES_MAC, socket.mac, None, &packet)]
        }
    };
    let (mut sent, mut refused) = (0, None);
    for _ in 0..args.count {
        for frame in &frames {
            match socket.send(frame) {
                Ok(()) => sent += 1,
                Err(error) => refused = Some(error),
            }
        }
    }
    let error = refused.map_or(String::new(), |error| format!(" error={:?}", error.to_string()));
    println!("sent={sent}{error}");
    Ok(())
}
