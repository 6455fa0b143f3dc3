//! Makes a tunnel, and keeps it going until it ends.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::FutureExt;
use mesh_ebpf::abi::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Key;
use super::tunnel::{Tunnel, UNSAID};
use crate::relay::identity::Certificate;
use crate::relay::tls::{self, End, fault_of};
use crate::relay::tunnel::Worker;
use crate::relay::tunnel::counts::Gauge;
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::open::{Place, What};
use crate::relay::tunnel::read_ahead::ReadAhead;
use crate::relay::tunnel::session::{
    CONNECTION_WINDOW, FAREWELL_WITHIN, FRAME, HANDSHAKE_WITHIN, HEADERS, SEND_BUFFER, STREAM_WINDOW,
    Session, silent,
};
use crate::relay::tunnel::sockets::{Purpose, Sockets};
use crate::relay::tunnel::watched::Watched;

/// Makes a tunnel of `key` and puts it into the pool.
pub(super) async fn open<S: Sockets>(
    worker: &Rc<Worker<S>>,
    key: &Key,
    certificate: Arc<Certificate>,
) -> Result<Rc<Tunnel>, Failure> {
    let to = key.address();
    let handshake = worker
        .handshakes
        .begin(&key.pod, None)
        .map_err(|error| Failure::new(Reason::RelayExhausted, error.to_string()))?;
    let counts = worker.reporter.counts();
    let under_way = Gauge::hold(counts, |counts| &counts.handshakes_under_way);
    let socket = worker
        .sockets
        .connect(&key.pod, to, Purpose::Tunnel)
        .await
        .map_err(|error| Failure::of_tunnel(&error, to))?;
    let config = tls::client_config(&certificate, &worker.trust, BTreeSet::clone(&key.expected));
    let greeting =
        TlsConnector::from(config).connect(tls::server_name(key.destination), ReadAhead::new(socket));
    let stream = match timeout(HANDSHAKE_WITHIN, greeting).await {
        Ok(done) => done.map_err(|error| Failure::of_tls(&fault_of(&error), to))?,
        Err(_) => {
            let within = HANDSHAKE_WITHIN.as_secs();
            let detail =
                format!("tunnel to {to}: no TLS answer within {within} seconds; check what listens there");
            return Err(Failure::new(Reason::TlsFailed, detail));
        }
    };
    let session =
        Session::of(stream.get_ref().1, End::Server).map_err(|fault| Failure::of_tls(&fault, to))?;
    let (stream, broken) = Watched::new(stream);
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(UNSAID)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| Failure::of_http(&error, to))?;
    counts.handshakes.fetch_add(1, Ordering::Relaxed);
    drop((handshake, under_way));
    let session = Rc::new(session);
    let place = worker.open.enter(&key.pod, What::Session(Rc::clone(&session)));
    let closer = Rc::clone(place.closer());
    let before_said = worker.pool.before_said(key);
    let tunnel = Rc::new(Tunnel::new(requests, certificate, session, closer, broken, before_said));
    worker.pool.put(key, Rc::clone(&tunnel));
    tokio::task::spawn_local(drive(Rc::clone(worker), key.clone(), Rc::clone(&tunnel), connection, place));
    Ok(tunnel)
}

/// Keeps a tunnel going until it ends.
async fn drive<S: Sockets, T>(
    worker: Rc<Worker<S>>,
    key: Key,
    tunnel: Rc<Tunnel>,
    mut connection: h2::client::Connection<T>,
    place: Place,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let _up = Gauge::hold(worker.reporter.counts(), |counts| &counts.tunnels_out);
    let pings = connection.ping_pong();
    let mut failed = None;
    tokio::select! {
        ended = going(&mut connection, &tunnel) => {
            if let Err(error) = ended {
                tracing::debug!(peer = %tunnel.session().id, %error, "a tunnel ended");
                failed = Some(error);
            }
        }
        () = silent(pings) => place.closer().close(Reason::PeerFailed),
        _ = place.closer().closed() => {}
        () = async {
            // Others take new streams, and what is left may finish.
            tunnel.session().leaves().await;
            tunnel.retire();
            std::future::pending::<()>().await;
        } => {}
        () = tunnel.idle() => {
            tunnel.retire();
            // Says GOAWAY and goes.
            let _ = timeout(FAREWELL_WITHIN, &mut connection).await;
        }
    }
    tunnel.retire();
    tunnel.settle(Err(unsaid(&tunnel, failed.as_ref(), key.address())));
    worker.pool.remove(&key, &tunnel);
}

/// Carries, and notes what the peer says of streams.
async fn going<T>(connection: &mut h2::client::Connection<T>, tunnel: &Tunnel) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| {
        let ended = connection.poll_unpin(context);
        if tunnel.settled().is_none() {
            tunnel.hear(connection.max_concurrent_send_streams());
        }
        ended
    })
    .await
}

/// Why the peer never said how many streams it takes.
fn unsaid(tunnel: &Tunnel, failed: Option<&h2::Error>, to: SocketAddr) -> Failure {
    if let Some(reason) = tunnel.closer().reason() {
        return Failure::new(reason, "the tunnel was closed by this node");
    }
    match (tunnel.broken().get(), failed) {
        (Some(fault), _) => Failure::of_tls(fault, to),
        (None, Some(error)) => Failure::of_http(error, to),
        (None, None) => {
            Failure::new(Reason::PeerFailed, format!("tunnel to {to}: it was closed before it could be used"))
        }
    }
}
