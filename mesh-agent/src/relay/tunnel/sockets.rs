//! The sockets of pods' namespaces, as the tunnel uses them: what an accepted one is, and how one
//! is connected.
//!
//! [`Sockets`] is the seam to the kernel programs and to wire; the tests put plain loopback sockets
//! behind it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_ebpf::abi::{Behalf, FlowRecord, TrueClient};
use mesh_ebpf::address::Address;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::channel::AskError;
use super::copy::abort_on_close;
use super::limits::Files;
use super::stock::Stocks;
use crate::sys::option;

/// How long a connect may take.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// wire gave no socket.
    #[error(transparent)]
    NoSocket(#[from] AskError),
    /// The true client cannot be shown to the application, so it is not connected at all.
    #[error(
        "saying the true client of a delivery: {0}; the mesh's setsockopt program is not attached to this agent's cgroup (`meshctl check`)"
    )]
    Client(#[source] io::Error),
    /// It would prove nobody at the other end, so it is not made at all.
    #[error(
        "saying for which pod a connection is: {0}; the mesh's setsockopt program is not attached to this agent's cgroup (`meshctl check`)"
    )]
    Behalf(#[source] io::Error),
    /// Its socket is in the last of relay's descriptors.
    #[error("relay has no open files to spare; raise LimitNOFILE of mesh-agent relay")]
    Exhausted,
    /// The socket could not be prepared.
    #[error("preparing a socket: {0}")]
    Prepare(#[source] io::Error),
    /// Nobody answered in time.
    #[error("no answer within {} seconds", CONNECT_WITHIN.as_secs())]
    TimedOut,
    /// It failed.
    #[error(transparent)]
    Connect(io::Error),
}

/// What a connection from a pod's namespace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A tunnel.
    Tunnel,
    /// A delivery to the pod: its application sees this client, and closing the socket is a RST from
    /// the start ([`abort_on_close`]).
    Delivery(SocketAddr),
    /// A connection of the pod, that proves it within the node.
    Behalf {
        /// An address of the pod.
        address: IpAddr,
        /// The rule of its egress set that admitted it.
        rule: u16,
    },
}

/// Where the tunnel's sockets come from.
pub(crate) trait Sockets: 'static {
    /// What the kernel knows of a connection accepted at an outbound listener; `None` when no
    /// socket of the pod published it.
    fn record(&self, accepted: &TcpStream) -> io::Result<Option<FlowRecord>>;

    /// Who connected.
    fn peer(&self, accepted: &TcpStream) -> io::Result<SocketAddr> {
        let peer = accepted.peer_addr()?;
        Ok(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    /// What was connected to.
    fn local(&self, accepted: &TcpStream) -> io::Result<SocketAddr> {
        let local = accepted.local_addr()?;
        Ok(SocketAddr::new(local.ip().to_canonical(), local.port()))
    }

    /// Connects from the namespace of `pod`.
    fn connect(
        &self,
        pod: &Arc<str>,
        to: SocketAddr,
        purpose: Purpose,
    ) -> impl Future<Output = Result<TcpStream, DialError>>;

    /// Called about once a second.
    fn tick(&self) {}

    /// A pod has ended.
    fn forget(&self, _pod: &Arc<str>) {}
}

/// Sockets made by wire in the pods' namespaces.
#[derive(Debug)]
pub(crate) struct FromWire {
    stocks: Rc<Stocks>,
    files: Files,
    deliveries: std::cell::Cell<u32>,
}

impl FromWire {
    /// Takes them from `stocks`.
    pub(crate) fn new(stocks: Rc<Stocks>, files: Files) -> Self {
        Self { stocks, files, deliveries: std::cell::Cell::default() }
    }

    /// Makes a socket a delivery: whose connection it is, and a source address that spreads them,
    /// since one has no more than 28,000 ports towards one destination (SEMANTICS 7.3).
    fn deliver(&self, socket: &OwnedFd, to: IpAddr, client: SocketAddr) -> Result<(), DialError> {
        let client = TrueClient { address: Address::from(client.ip()), port: client.port(), reserved: 0 };
        option::true_client(socket, &client).map_err(DialError::Client)?;
        let number = self.deliveries.get();
        self.deliveries.set(number.wrapping_add(1));
        let source = IpAddr::from(Address::redirect(to.is_ipv4(), number >> 10, number));
        let bound = || -> io::Result<()> {
            setsockopt(socket, IpBindAddressNoPort, &true)?;
            abort_on_close(socket)?;
            let socket = SockRef::from(socket);
            if to.is_ipv6() {
                // The whole prefix is local, but only by a route: no address of it is assigned.
                socket.set_freebind_v6(true)?;
            }
            socket.bind(&SocketAddr::new(source, 0).into())
        };
        bound().map_err(DialError::Prepare)
    }
}

impl Sockets for FromWire {
    fn record(&self, accepted: &TcpStream) -> io::Result<Option<FlowRecord>> {
        option::flow_record(accepted)
    }

    async fn connect(
        &self,
        pod: &Arc<str>,
        to: SocketAddr,
        purpose: Purpose,
    ) -> Result<TcpStream, DialError> {
        let socket = self.stocks.take(pod, to.is_ipv6()).await?;
        if !self.files.have_room(&socket) {
            return Err(DialError::Exhausted);
        }
        match purpose {
            Purpose::Tunnel => {}
            Purpose::Delivery(client) => self.deliver(&socket, to.ip(), client)?,
            Purpose::Behalf { address, rule } => {
                let behalf = Behalf { address: Address::from(address), rule, reserved: 0 };
                option::on_behalf(&socket, &behalf).map_err(DialError::Behalf)?;
            }
        }
        connect(socket, to).await
    }

    fn tick(&self) {
        self.stocks.trim(std::time::Instant::now());
    }

    fn forget(&self, pod: &Arc<str>) {
        self.stocks.forget(pod);
    }
}

/// Connects an unconnected, non-blocking socket.
async fn connect(socket: OwnedFd, to: SocketAddr) -> Result<TcpStream, DialError> {
    let socket = TcpSocket::from_std_stream(socket.into());
    socket.set_nodelay(true).map_err(DialError::Prepare)?;
    match timeout(CONNECT_WITHIN, socket.connect(to)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(DialError::TimedOut),
        Ok(Err(error)) => Err(DialError::Connect(error)),
        Err(_) => Err(DialError::TimedOut),
    }
}
