//! Listening sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

/// What kind of listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    /// Where; an IPv6 address serves IPv4 too.
    pub(super) address: IpAddr,
    /// Multipath TCP.
    pub(super) mptcp: bool,
    /// SO_REUSEPORT.
    pub(super) reuse_port: bool,
    /// Length of the accept queue.
    pub(super) backlog: i32,
}

impl Listener {
    /// Listens on a port.
    pub(super) fn listen(self, port: u16) -> io::Result<Socket> {
        let address = SocketAddr::new(self.address, port);
        let protocol = if self.mptcp { Protocol::MPTCP } else { Protocol::TCP };
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(self.reuse_port)?;
        socket.bind(&address.into())?;
        socket.listen(self.backlog)?;
        Ok(socket)
    }
}
