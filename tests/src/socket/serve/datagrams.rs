//! UDP: every datagram is answered with what it said, who sent it and which server got it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Socket, Type};

use crate::socket::outcome::canonical;

/// Binds a port; an IPv6 address serves IPv4 too.
pub(super) fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers for ever.
pub(super) fn serve(socket: &UdpSocket, port: u16) {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let host = host.to_string_lossy();
    let mut datagram = [0; 2048];
    loop {
        // An ICMP error of an earlier answer shows up here; it is nobody's problem but that client's.
        let Ok((read, caller)) = socket.recv_from(&mut datagram) else { continue };
        let said = String::from_utf8_lossy(&datagram[..read]);
        let answer = format!("said={said} caller={} host={host} port={port}", canonical(caller));
        // The client may be gone.
        let _ = socket.send_to(answer.as_bytes(), caller);
    }
}
