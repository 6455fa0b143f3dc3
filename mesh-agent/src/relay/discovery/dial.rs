//! A connection to the controller: a socket, TLS with both names checked, gRPC over it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::Control;
use super::control::Known;
use crate::relay::identity::random;
use crate::relay::tls::{ALPN, Bundle, TlsFault, Trust, control_config, fault_of, server_name};

/// How long the controller may take to accept, and again to finish the handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A controller that stands by refuses, and an address may lead to any of several: so often each is tried.
const ROUNDS: u32 = 5;
/// Between two rounds, and up to as much again.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(30);
/// How often a silent controller is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer that.
const PING_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// Nobody there.
    #[error(
        "connecting to the controller at {to}: {source}; is mesh-control running, and is this the address it listens on?"
    )]
    Connect {
        /// Where.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody else there, or it does not believe us.
    #[error("TLS with the controller at {to}: {fault}")]
    Tls {
        /// Where.
        to: String,
        /// What went wrong.
        fault: TlsFault,
    },
    /// No HTTP/2.
    #[error("HTTP/2 with the controller at {to}: {source}")]
    Http {
        /// Where.
        to: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// A connection, and what TLS says when it breaks.
#[derive(Debug, Clone)]
pub(super) struct Dialled {
    /// For any number of calls; does not reconnect.
    pub channel: Channel,
    fault: Arc<Mutex<Option<TlsFault>>>,
}

impl Dialled {
    /// What TLS had to say of the end of the connection. A server verifies its client after the
    /// client's handshake is done, so its refusal comes with the first read.
    pub(super) fn fault(&self) -> Option<TlsFault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DialError {
    /// Whether whoever is there said no at once: none of the controllers leads now, or none is there yet.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Connects, as the node when it has a key already.
pub(super) async fn dial(
    control: &Control,
    known: &mut Known,
    key: Option<&Arc<CertifiedKey>>,
    bundle: Arc<Bundle>,
) -> Result<Dialled, DialError> {
    let to = control.to_string();
    let connected = match control {
        Control::Unix(path) => {
            let connect = async { UnixStream::connect(path).await.map(|stream| Box::new(stream) as Socket) };
            within(connect).await.map(|socket| (socket, IpAddr::V6(Ipv6Addr::LOCALHOST)))
        }
        Control::Tcp(address) => tcp(&[*address]).await,
        Control::Name(name, port) => match known.resolve(name, *port).await {
            Ok(addresses) => tcp(addresses).await,
            Err(error) => Err(error),
        },
    };
    let (socket, address) = connected.map_err(|source| DialError::Connect { to: to.clone(), source })?;
    let config = control_config(key, &Arc::new(Trust::new(bundle)));
    let handshake = TlsConnector::from(config).connect(server_name(address), socket);
    let failed = |fault| DialError::Tls { to: to.clone(), fault };
    let stream = match timeout(CONNECT_WITHIN, handshake).await {
        Ok(result) => result.map_err(|error| failed(fault_of(&error)))?,
        Err(_) => return Err(failed(TlsFault::Other("no answer to the handshake".to_owned()))),
    };
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(failed(TlsFault::Protocol(None)));
    }
    let fault = Arc::default();
    let channel = http2(Observed { stream, fault: Arc::clone(&fault) })
        .await
        .map_err(|source| DialError::Http { to: to.clone(), source })?;
    Ok(Dialled { channel, fault })
}

/// A connection to the first of these addresses that accepts one, and which that is. They are tried in
/// turn, and those of an address that refuses again.
async fn tcp(addresses: &[SocketAddr]) -> io::Result<(Socket, IpAddr)> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for round in 0..ROUNDS {
        if round > 0 {
            sleep(BETWEEN_ROUNDS + BETWEEN_ROUNDS.mul_f64(random() as f64 / u64::MAX as f64)).await;
        }
        let mut refused = false;
        for address in addresses {
            let connect = async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                io::Result::Ok(Box::new(stream) as Socket)
            };
            match within(connect).await {
                Ok(socket) => return Ok((socket, address.ip())),
                Err(error) => {
                    refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                    failure = error;
                }
            }
        }
        if !refused {
            break;
        }
    }
    Err(failure)
}

async fn within(connect: impl Future<Output = io::Result<Socket>>) -> io::Result<Socket> {
    timeout(CONNECT_WITHIN, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// HTTP/2 over one stream. When it breaks, the session ends and dials anew.
async fn http2(stream: Observed) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    // The address is never resolved: the connector has the stream already.
    Endpoint::from_static("http://mesh-control")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type Socket = Box<dyn Stream>;

/// Remembers what TLS said of a failed read: gRPC's errors do not keep it.
struct Observed {
    stream: TlsStream<Socket>,
    fault: Arc<Mutex<Option<TlsFault>>>,
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &result {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| fault_of(error));
        }
        result
    }
}

impl AsyncWrite for Observed {
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use tokio::net::TcpListener;
    use tokio::time::{Duration, sleep};

    use super::{ROUNDS, tcp};

    async fn free() -> SocketAddr {
        TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn one_that_refuses_is_passed_over_and_tried_again() {
        let leader = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (standby, address) = (free().await, leader.local_addr().unwrap());
        assert!(tcp(&[standby, address]).await.is_ok());
        drop(leader);
        let refused = tcp(&[standby, address]).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // As behind a Service's address, that leads to another each time.
        let listens = async {
            sleep(Duration::from_millis(40)).await;
            let leader = TcpListener::bind(address).await.unwrap();
            leader.accept().await.unwrap();
        };
        let (connected, ()) = tokio::join!(async { tcp(&[address]).await.is_ok() }, listens);
        assert!(connected && ROUNDS > 2);
    }
}
