//! `mesh-forge serve`: accepts from its first instruction on and says at once from whom, so that one packet past a
//! policy leaves a line.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use socket2::{Domain, Socket, Type};

use super::{Failure, step};

/// Options of `mesh-forge serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The port, for TCP and UDP, IPv4 and IPv6
    port: u16,
}

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static DATAGRAMS: AtomicU64 = AtomicU64::new(0);

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), args.port);
    let listener = Socket::new(Domain::IPV6, Type::STREAM, None).map_err(step("socket"))?;
    listener.set_only_v6(false).map_err(step("dual stack"))?;
    listener.set_reuse_address(true).map_err(step("reuse"))?;
    listener.bind(&any.into()).map_err(step("bind"))?;
    listener.listen(4096).map_err(step("listen"))?;
    let datagrams = UdpSocket::bind(any).map_err(step("bind"))?;
    println!("serving={}", args.port);
    thread::spawn(move || answer_datagrams(&datagrams));
    let listener = std::net::TcpListener::from(listener);
    loop {
        let (mut stream, peer) = listener.accept().map_err(step("accept"))?;
        let accepted = ACCEPTED.fetch_add(1, Ordering::Relaxed) + 1;
        println!("accepted={accepted} peer={}", canonical(peer));
        thread::spawn(move || {
            let mut chunk = [0; 512];
            // The client's end, however it comes, is the end.
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                if stream.write_all(&chunk[..read]).is_err() {
                    return;
                }
            }
        });
    }
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut datagram = [0; 2048];
    loop {
        // An ICMP error of an earlier answer.
        let Ok((read, peer)) = socket.recv_from(&mut datagram) else { continue };
        let count = DATAGRAMS.fetch_add(1, Ordering::Relaxed) + 1;
        println!("datagrams={count} peer={}", canonical(peer));
        // It may be forged: then nobody waits for the answer.
        let _ = socket.send_to(&datagram[..read], peer);
    }
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
