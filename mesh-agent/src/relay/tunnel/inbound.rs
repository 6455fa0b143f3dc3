//! The destination's side: tunnels that reach a pod's inbound listener, and the requests in them. What the gate
//! handed over at another port than the tunnel's is for its requests to be judged
//! ([`requests::destination`]).
//!
//! A tunnel is taken when its handshake ends in time with a proven name and HTTP/2. A request is
//! answered 400 unless it is a CONNECT to one of this very pod's addresses (SEMANTICS 7.8), 401
//! when the pod's policy denies the proven peer at the tunnel's address, 503 when the application
//! cannot be reached, and else 200: then it is connected to as the true client it is told to be.
//! What a peer may hold is bounded: handshakes ([`limits`](super::limits)), streams and their
//! windows ([`session`](super::session)), the time to a first request and between streams, and
//! streams it gives up at once ([`Patience`]).

mod patience;
mod stream;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mesh_ebpf::abi::{Reason, TUNNEL_PORT};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::copy::abort_on_close;
use super::counts::Gauge;
use super::failure::Failure;
use super::limits::{Caller, Handshake, TunnelCounted};
use super::open::What;
use super::read_ahead::ReadAhead;
use super::report::{Connection, PeerIdentity, Side};
use super::requests;
use super::session::{
    CONNECTION_WINDOW, FAREWELL_WITHIN, FRAME, HANDSHAKE_WITHIN, HEADERS, SEND_BUFFER, STREAM_WINDOW,
    STREAMS, Session, silent,
};
use super::sockets::Sockets;
use super::{Pod, Worker, accept as next, ready};
use crate::relay::identity::Certificate;
use crate::relay::tls::{self, End, fault_of};
use patience::Patience;

/// How long a new tunnel may be without its first stream.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long one may be without any after it had one.
const IDLE: Duration = Duration::from_secs(300);

/// Takes the tunnels of a pod, for as long as it is not dropped.
pub(crate) async fn accept<S: Sockets>(worker: Rc<Worker<S>>, pod: Pod, listener: TcpListener) {
    ready(&worker.world, &worker.identities, &pod.uid).await;
    let shown = Rc::new(Shown::default());
    loop {
        let socket = next(&listener, &pod).await;
        let mut connection = worker.reporter.begin(Side::Destination, &pod.uid, None);
        if worker.sockets.local(&socket).is_ok_and(|local| local.port() != TUNNEL_PORT) {
            let (worker, pod) = (Rc::clone(&worker), pod.clone());
            tokio::task::spawn_local(requests::destination::accept(worker, pod, socket, connection));
            continue;
        }
        let admitted = match admit(&worker, &pod, &socket, &mut connection) {
            Ok(admitted) => admitted,
            Err(failure) => {
                connection.end(failure.reason, &*failure.detail);
                continue;
            }
        };
        let (worker, pod, shown) = (Rc::clone(&worker), pod.clone(), Rc::clone(&shown));
        tokio::task::spawn_local(async move {
            let Admitted { peer, handshake, counted } = admitted;
            match greet(&worker, &pod, &shown, socket, peer, handshake, &mut connection).await {
                Ok((stream, session)) => {
                    connection.forget();
                    serve(worker, pod, stream, session, peer).await;
                }
                Err(failure) => connection.end(failure.reason, &*failure.detail),
            }
            drop(counted);
        });
    }
}

/// A connection that may become a tunnel.
struct Admitted {
    /// Where it comes from.
    peer: SocketAddr,
    handshake: Handshake,
    counted: TunnelCounted,
}

fn admit<S: Sockets>(
    worker: &Worker<S>,
    pod: &Pod,
    socket: &TcpStream,
    connection: &mut Connection,
) -> Result<Admitted, Failure> {
    let peer = worker
        .sockets
        .peer(socket)
        .and_then(|peer| socket.set_nodelay(true).map(|()| peer))
        .map_err(|error| Failure::new(Reason::Cancelled, format!("the tunnel's socket: {error}")))?;
    connection.report.source = Some(peer);
    let abort = |failure: Failure| {
        // No TIME_WAIT for what is not even looked at.
        let _ = abort_on_close(socket);
        failure
    };
    let at_bound = |said: String| abort(worker.shed(Failure::new(Reason::RelayExhausted, said)));
    worker.spare(socket, worker.open.held(&pod.uid)).map_err(abort)?;
    let counted =
        worker.tunnels.take(&pod.uid, peer.ip()).map_err(|too_many| at_bound(too_many.to_string()))?;
    let caller = Caller { address: peer.ip(), known: worker.world.expected(peer.ip(), 0).is_ok() };
    let handshake =
        worker.handshakes.begin(&pod.uid, Some(caller)).map_err(|too_many| at_bound(too_many.to_string()))?;
    Ok(Admitted { peer, handshake, counted })
}

/// What a pod shows, made anew when its certificate changes.
#[derive(Debug, Default)]
struct Shown(RefCell<Option<(Arc<Certificate>, Arc<ServerConfig>)>>);

impl Shown {
    fn config<S>(&self, worker: &Worker<S>, certificate: Arc<Certificate>) -> Arc<ServerConfig> {
        let mut shown = self.0.borrow_mut();
        if let Some((_, config)) = shown.as_ref().filter(|(known, _)| Arc::ptr_eq(known, &certificate)) {
            return Arc::clone(config);
        }
        let config = tls::server_config(&certificate, &worker.trust);
        *shown = Some((certificate, Arc::clone(&config)));
        config
    }
}

/// The handshake: TLS 1.3 with a proven name, all of it in time.
async fn greet<S: Sockets>(
    worker: &Worker<S>,
    pod: &Pod,
    shown: &Shown,
    socket: TcpStream,
    peer: SocketAddr,
    handshake: Handshake,
    connection: &mut Connection,
) -> Result<(TlsStream<ReadAhead<TcpStream>>, Session), Failure> {
    let _under_way = Gauge::hold(worker.reporter.counts(), |counts| &counts.handshakes_under_way);
    let resident = worker
        .world
        .resident(&pod.uid)
        .ok_or_else(|| Failure::new(Reason::EndpointGone, "discovery does not know the pod as enrolled"))?;
    connection.report.own = Some(Arc::clone(&resident.id));
    tokio::time::sleep(handshake.wait()).await;
    let certificate = worker.certificate(&resident.id).await?;
    let config = shown.config(worker, certificate);
    let stream = match timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(config).accept(ReadAhead::new(socket)))
        .await
    {
        Ok(done) => done.map_err(|error| Failure::of_tls(&fault_of(&error), peer))?,
        Err(_) => {
            let within = HANDSHAKE_WITHIN.as_secs();
            let detail = format!("tunnel with {peer}: its TLS handshake did not end within {within} seconds");
            return Err(Failure::new(Reason::TlsFailed, detail));
        }
    };
    let session =
        Session::of(stream.get_ref().1, End::Client).map_err(|fault| Failure::of_tls(&fault, peer))?;
    connection.report.peer = PeerIdentity::Proven(Arc::clone(&session.id));
    drop(handshake);
    worker.reporter.counts().handshakes.fetch_add(1, Ordering::Relaxed);
    Ok((stream, session))
}

/// The requests of one tunnel.
async fn serve<S: Sockets>(
    worker: Rc<Worker<S>>,
    pod: Pod,
    stream: TlsStream<ReadAhead<TcpStream>>,
    session: Session,
    peer: SocketAddr,
) {
    let session = Rc::new(session);
    let place = worker.open.enter(&pod.uid, What::Session(Rc::clone(&session)));
    let _up = Gauge::hold(worker.reporter.counts(), |counts| &counts.tunnels_in);
    let preface = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(STREAMS)
        .handshake::<_, Bytes>(stream);
    let Ok(Ok(mut connection)) = timeout(HANDSHAKE_WITHIN, preface).await else {
        tracing::debug!(%peer, "a tunnel's peer spoke no HTTP/2 in time");
        return;
    };
    let patience = Rc::new(Patience::default());
    let tunnel = Rc::new(stream::Tunnel {
        worker: Rc::clone(&worker),
        pod,
        peer,
        session: Rc::clone(&session),
        closer: Rc::clone(place.closer()),
        patience: Rc::clone(&patience),
    });
    let silent = silent(connection.ping_pong());
    tokio::pin!(silent);
    let farewell = async {
        tokio::select! {
            () = session.leaves() => {}
            _ = worker.draining.closed() => {}
        }
    };
    tokio::pin!(farewell);
    let mut leaving = false;
    let mut idle = FIRST_REQUEST_WITHIN;
    loop {
        // Streams hold the tunnel by reference: with none, nobody else does.
        let unused = Rc::strong_count(&tunnel) == 1;
        tokio::select! {
            request = connection.accept() => match request {
                Some(Ok((request, respond))) => {
                    idle = IDLE;
                    tokio::task::spawn_local(stream::serve(Rc::clone(&tunnel), request, respond));
                }
                Some(Err(error)) => {
                    tracing::debug!(%peer, id = %session.id, %error, "a tunnel broke");
                    return;
                }
                None => return,
            },
            () = patience.lost() => {
                tracing::warn!(%peer, id = %session.id, "a tunnel's peer gives up streams faster than is reasonable; closing it");
                connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                let _ = timeout(FAREWELL_WITHIN, std::future::poll_fn(|context| connection.poll_closed(context))).await;
                return;
            }
            () = &mut silent => return place.closer().close(Reason::PeerFailed),
            _ = place.closer().closed() => return,
            () = &mut farewell, if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = tokio::time::sleep(idle), if unused && !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
        }
    }
}
