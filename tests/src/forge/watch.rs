//! `mesh-forge watch`: counts what arrives at this namespace, by a raw socket that sees it before any other socket and
//! before the gate: what is counted here has left the sender.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Failure, step};

/// How often it looks whether it shall end.
const TICK: Duration = Duration::from_millis(20);

/// How long it waits for packets that are expected.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was sent before it was told to end has arrived this much later.
const ON_THE_WAY: Duration = Duration::from_millis(150);

/// Options of `mesh-forge watch`, which goes on until its standard input ends.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The number of the IP protocol: 6 is TCP, 17 UDP
    #[arg(long)]
    protocol: u8,
    /// IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Only from this address
    #[arg(long)]
    from: Option<IpAddr>,
    /// Only from this port of TCP or UDP
    #[arg(long)]
    from_port: Option<u16>,
    /// Wait for as many, for a while after the end of standard input
    #[arg(long, default_value_t = 0, value_name = "PACKETS")]
    expect: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (domain, any): (_, IpAddr) = if args.ipv6 {
        (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into())
    } else {
        (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into())
    };
    let protocol = Protocol::from(i32::from(args.protocol));
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).map_err(step("raw socket"))?;
    socket.bind(&SocketAddr::new(any, 0).into()).map_err(step("bind"))?;
    println!("watching={}", args.protocol);
    socket.set_read_timeout(Some(TICK)).map_err(step("timeout"))?;
    let told_to_end = when_input_ends();
    let (mut packets, mut buffer, mut told) = (0_u64, [0; 2048], None);
    loop {
        if told_to_end.load(Ordering::Relaxed) {
            let since = told.get_or_insert_with(Instant::now).elapsed();
            if since > ON_THE_WAY && (packets >= args.expect || since > PATIENCE) {
                break;
            }
        }
        let Ok((read, Some(peer))) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) else {
            continue;
        };
        if args.from.is_none_or(|from| address(&peer) == Some(from)) && comes_from_port(args, &buffer[..read])
        {
            packets += 1;
        }
    }
    println!("packets={packets}");
    Ok(())
}

/// Becomes true at the end of standard input.
fn when_input_ends() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    thread::spawn(move || {
        // Whatever comes: only the end counts.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        told.store(true, Ordering::Relaxed);
    });
    ended
}

fn address(peer: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = peer.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| peer.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

/// A raw IPv4 socket gives the header, an IPv6 one does not.
fn comes_from_port(args: &Args, packet: &[u8]) -> bool {
    let header = if args.ipv6 { 0 } else { packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4) };
    let port = packet.get(header..header + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    args.from_port.is_none() || port == args.from_port
}
