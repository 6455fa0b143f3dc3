//! The sockets in a pod's namespace: listing them, and ending one (`SOCK_DESTROY`).
//!
//! The kernel is asked by socket diagnostics, inside the namespace, so also sockets of v4-mapped
//! addresses and of processes without an owner are seen. Addresses come out in the one form that
//! flow keys use.

mod records;

use std::io;
use std::net::IpAddr;

use mesh_ebpf::abi::{FlowKey, TCP, UDP};
use mesh_ebpf::address::Address;
use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_LAST_ACK, TCP_LISTEN, TCP_SYN_RECV,
    TCP_SYN_SENT,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink::{Ask, Netlink};
use crate::sys::netns::Netns;

pub(super) use records::Record;

/// How a TCP connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Bytes sent that were acknowledged.
    pub(super) bytes_sent: u64,
    /// Bytes received.
    pub(super) bytes_received: u64,
    /// Smoothed round-trip time, microseconds.
    pub(super) rtt_microseconds: u32,
    /// Segments retransmitted.
    pub(super) retransmits: u32,
}

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    family: u8,
    id: SocketId,
    /// TCP or UDP.
    pub(super) protocol: u8,
    /// Its own address and port.
    pub(super) local: (Address, u16),
    /// Its peer's; unspecified for a listener or an unconnected socket.
    pub(super) remote: (Address, u16),
    /// It waits for connections.
    pub(super) listening: bool,
    /// It is being accepted: hooks have not seen it yet.
    pub(super) arriving: bool,
    /// Its peer has closed its own side, and may be gone.
    pub(super) half_closed: bool,
    /// The cgroup in which it, or the listener that accepted it, was made; 0 where the kernel does not tell.
    pub(super) cgroup: u64,
    /// How it goes, where that was asked for and it is established.
    pub(super) progress: Option<Progress>,
}

impl Socket {
    /// The cookie that the kernel programs know it by.
    pub(super) fn cookie(&self) -> u64 {
        u64::from_ne_bytes(self.id.cookie)
    }

    /// Its tuple, as if it had connected.
    pub(super) fn outgoing(&self) -> FlowKey {
        FlowKey {
            source: self.local.0,
            destination: self.remote.0,
            source_port: self.local.1,
            destination_port: self.remote.1,
            protocol: self.protocol,
            reserved: [0; 3],
        }
    }

    /// Whether it has a peer outside its namespace.
    pub(super) fn has_peer(&self) -> bool {
        self.remote.1 != 0
            && !self.listening
            && !self.remote.0.is_loopback()
            && !self.remote.0.is_unspecified()
            && !self.is_redirected()
            && self.remote.0 != self.local.0
    }

    /// Whether its peer is at an address of redirection: the agent's, or within the pod.
    pub(super) fn is_redirected(&self) -> bool {
        !self.listening && self.remote.1 != 0 && self.remote.0.is_redirect()
    }
}

/// Open sockets of a namespace, to list and to end.
#[derive(Debug)]
pub(super) struct Sockets(Netlink);

/// States in which a TCP socket can still move data, or a UDP socket is connected: everything but
/// TIME_WAIT, CLOSE and NEW_SYN_RECV.
fn states() -> StateFlags {
    StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::CLOSE
}

impl Sockets {
    /// Of a namespace; the handle does its work in there from wherever it is used.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub(super) fn of(netns: &Netns) -> io::Result<Self> {
        netns.within(|| Netlink::open(NETLINK_SOCK_DIAG))?.map(Self)
    }

    /// TCP sockets, listeners included, with their progress if wanted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn tcp(&mut self, progress: bool) -> io::Result<Vec<Socket>> {
        self.list(TCP, states(), progress)
    }

    /// Connected UDP sockets.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn udp(&mut self) -> io::Result<Vec<Socket>> {
        self.list(UDP, StateFlags::from_bits_truncate(1 << TCP_ESTABLISHED), false)
    }

    fn list(&mut self, protocol: u8, states: StateFlags, progress: bool) -> io::Result<Vec<Socket>> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let request = InetRequest {
                family,
                protocol,
                extensions: if progress { ExtensionFlags::INFO } else { ExtensionFlags::empty() },
                states: states.clone(),
                socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
            };
            self.0.ask(SockDiagMessage::InetRequest(request), Ask::Dump, |answer: SockDiagMessage| {
                if let SockDiagMessage::InetResponse(response) = answer {
                    found.push(socket(protocol, &response));
                }
            })?;
        }
        Ok(found)
    }

    /// Ends a socket: its owner gets ECONNABORTED, its peer a RST. One that is gone is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn destroy(&mut self, socket: &Socket) -> io::Result<()> {
        let request = InetRequest {
            family: socket.family,
            protocol: socket.protocol,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: socket.id.clone(),
        };
        let destroy = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        match self.0.ask(destroy, Ask::Do, |_: SockDiagMessage| {}) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }
}

impl Sockets {
    /// Whether the kernel can end sockets at all: asked about one that is not there.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where it cannot.
    pub(super) fn can_destroy(&mut self) -> io::Result<()> {
        self.destroy(&Socket {
            family: AF_INET,
            id: SocketId { source_port: 1, destination_port: 1, ..SocketId::new_v4() },
            protocol: TCP,
            local: (Address::UNSPECIFIED, 1),
            remote: (Address::UNSPECIFIED, 1),
            listening: false,
            arriving: false,
            half_closed: false,
            cgroup: 0,
            progress: None,
        })
    }
}

fn socket(protocol: u8, response: &InetResponse) -> Socket {
    let id = response.header.socket_id.clone();
    let one_form = |ip: IpAddr| Address::from(ip);
    // A connect under way has nothing to show, and may yet fail.
    let established = ![TCP_SYN_SENT, TCP_SYN_RECV].contains(&response.header.state);
    Socket {
        family: response.header.family,
        protocol,
        local: (one_form(id.source_address), id.source_port),
        remote: (one_form(id.destination_address), id.destination_port),
        listening: protocol == TCP && response.header.state == TCP_LISTEN,
        arriving: protocol == TCP && response.header.state == TCP_SYN_RECV,
        half_closed: [TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING].contains(&response.header.state),
        cgroup: response.nlas.iter().find_map(cgroup).unwrap_or_default(),
        progress: response.nlas.iter().find_map(|nla| match nla {
            Nla::TcpInfo(info) if established => Some(read_progress(info)),
            _ => None,
        }),
        id,
    }
}

/// `INET_DIAG_CGROUP_ID` of `include/uapi/linux/inet_diag.h`: on every answer since Linux 5.9.
const CGROUP_ID: u16 = 21;

fn cgroup(nla: &Nla) -> Option<u64> {
    match nla {
        Nla::Other(other) if other.kind() == CGROUP_ID => {
            let mut value = vec![0; other.value_len()];
            other.emit_value(&mut value);
            read(&value, 0).map(u64::from_ne_bytes)
        }
        _ => None,
    }
}

/// Fields of `struct tcp_info` by their offsets in `include/uapi/linux/tcp.h`, which only grows at
/// its end; what a short one lacks is 0.
fn read_progress(info: &[u8]) -> Progress {
    Progress {
        bytes_sent: read(info, 120).map_or(0, u64::from_ne_bytes),
        bytes_received: read(info, 128).map_or(0, u64::from_ne_bytes),
        rtt_microseconds: read(info, 68).map_or(0, u32::from_ne_bytes),
        retransmits: read(info, 100).map_or(0, u32::from_ne_bytes),
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::{Sockets, read_progress};
    use crate::sys::netns::within_new;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn tcp_info_is_read_where_the_kernel_writes_it() {
        let mut info = [0u8; 140];
        info[68..72].copy_from_slice(&7u32.to_ne_bytes());
        info[100..104].copy_from_slice(&2u32.to_ne_bytes());
        info[120..128].copy_from_slice(&1000u64.to_ne_bytes());
        info[128..136].copy_from_slice(&2000u64.to_ne_bytes());
        let progress = read_progress(&info);
        assert_eq!((progress.rtt_microseconds, progress.retransmits), (7, 2));
        assert_eq!((progress.bytes_sent, progress.bytes_received), (1000, 2000));
        assert_eq!(read_progress(&[]), super::Progress::default());
    }

    /// Needs root: makes a network namespace, connects inside it and ends the connection.
    #[test]
    fn a_destroyed_socket_is_aborted_and_counted_bytes_are_right() {
        let done = within_new(|| {
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.unwrap().success());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            let mut bytes = [0; 5];
            server.read_exact(&mut bytes).unwrap();
            let netns = crate::sys::netns::Netns::current().unwrap();
            let mut sockets = Sockets::of(&netns).unwrap();
            let port = client.local_addr().unwrap().port();
            let all = sockets.tcp(true).unwrap();
            assert!(all.iter().any(|socket| socket.listening));
            let one = all.iter().find(|socket| socket.local.1 == port).unwrap();
            assert_eq!(one.progress.unwrap().bytes_received, 0);
            let other = all.iter().find(|socket| socket.remote.1 == port).unwrap();
            assert_eq!(other.progress.unwrap().bytes_received, 5);
            assert!(!one.half_closed && !other.half_closed);
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let all = sockets.tcp(false).unwrap();
            let half_closed = |local: u16| {
                all.iter().find(|socket| socket.local.1 == local && !socket.listening).unwrap().half_closed
            };
            assert!(half_closed(other.local.1) && !half_closed(port), "the server waits for its own close");
            sockets.destroy(one).unwrap();
            sockets.destroy(one).unwrap();
            let error = client.read(&mut bytes).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        });
        done.expect("this test needs root: it makes a network namespace");
    }
}
