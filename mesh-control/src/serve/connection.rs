//! A connection, with the certificate that was shown on it.

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{
    bounds::Share,
    listen::{Plain, Source},
};
use crate::ca::{Peer, PeerError};

/// What a request can know of its connection.
#[derive(Debug, Clone)]
pub struct Connection {
    peer: Option<Arc<Result<Arc<Peer>, PeerError>>>,
    address: Option<IpAddr>,
}

impl Connection {
    /// The node that showed its certificate, or what was wrong with the one shown; nothing where
    /// none was.
    #[must_use]
    pub fn peer(&self) -> Option<&Result<Arc<Peer>, PeerError>> {
        self.peer.as_deref()
    }

    /// Where it is from; the Unix socket gives no address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// A connection after its handshake. It counts against its bound until it is dropped.
pub struct TlsConnection {
    stream: TlsStream<Plain>,
    connection: Connection,
    /// Done when whoever it is of has not been served for long enough.
    ends: Ends,
    _share: Share,
}

type Ends = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnection").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl TlsConnection {
    /// The connection of a finished handshake, which is closed when `ends` is done.
    pub(super) fn new(stream: TlsStream<Plain>, connection: Connection, share: Share, ends: Ends) -> Self {
        Self { stream, connection, ends, _share: share }
    }
}

/// Who is on the other side of a finished handshake.
pub(super) fn peer_of(stream: &TlsStream<Plain>, source: Source) -> Connection {
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = shown.map(|certificate| Arc::new(Peer::of(certificate).map(Arc::new)));
    Connection { peer, address: source.address() }
}

impl Connected for TlsConnection {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ends.as_mut().poll(context).is_ready() {
            let text = "a connection without the certificate of a node that is served has stayed too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The bytes below TLS.
impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
