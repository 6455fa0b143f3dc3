//! A pod that talks to itself: by loopback, and by its own addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{
    dial::{read_line, send_all},
    outcome::{named, say, shown},
};

const TIMEOUT: Duration = Duration::from_secs(3);

/// Options of `mesh-socket loopback`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Own addresses besides loopback
    addresses: Vec<IpAddr>,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in loopback.iter().chain(&args.addresses) {
        say(format_args!("tcp.{address}"), named(&tcp(*address)));
        say(format_args!("udp.{address}"), named(&udp(*address, false)));
        say(format_args!("udp.connected.{address}"), named(&udp(*address, true)));
    }
    Ok(())
}

fn tcp(address: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((address, 0))?;
    let to = listener.local_addr()?;
    let client = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    client.connect_timeout(&to.into(), TIMEOUT)?;
    let (server, caller) = listener.accept()?;
    let server = Socket::from(server);
    same(caller, &shown(client.local_addr()))?;
    same(to, &shown(client.peer_addr()))?;
    send_all(&client, b"self\n")?;
    read_line(&server)?;
    send_all(&server, b"self\n")?;
    read_line(&client).map(|_| ())
}

fn udp(address: IpAddr, connected: bool) -> io::Result<()> {
    let server = UdpSocket::bind((address, 0))?;
    let to = server.local_addr()?;
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let client = UdpSocket::bind((any, 0))?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(TIMEOUT))?;
    }
    if connected {
        client.connect(to)?;
        client.send(b"self")?;
    } else {
        client.send_to(b"self", to)?;
    }
    let mut datagram = [0; 16];
    let (_, caller) = server.recv_from(&mut datagram)?;
    server.send_to(b"self", caller)?;
    let (_, from) = client.recv_from(&mut datagram)?;
    same(to, &from.to_string())
}

fn same(wanted: SocketAddr, got: &str) -> io::Result<()> {
    if wanted.to_string() == got {
        Ok(())
    } else {
        Err(io::Error::other(format!("{got} instead of {wanted}")))
    }
}
