//! Tunnels that a worker's pods have open, shared by the connections that may share them.
//!
//! A tunnel belongs to one source pod (its namespace, its identity, its address), one destination
//! and the names expected there. A connection takes the first tunnel with a free stream, and waits
//! for a new one where there is none; one is opened at a time, and all who wait share what becomes
//! of it. A tunnel takes no new streams once its own certificate has been replaced or the peer's is
//! about to end; with its last stream it closes. Idle tunnels close after [`IDLE`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use h2::client::SendRequest;
use mesh_api::SpiffeId;
use mesh_ebpf::abi::{Reason, TUNNEL_PORT};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Worker;
use super::failure::Failure;
use super::open::{Closer, Place, What};
use super::read_ahead::ReadAhead;
use super::report::Gauge;
use super::session::{
    CONNECTION_WINDOW, FRAME, HEADERS, SEND_BUFFER, STREAM_WINDOW, STREAMS, Session, alive,
};
use super::sockets::Sockets;
use super::watched::{Broken, Watched};
use crate::relay::identity::Certificate;
use crate::relay::tls::{self, fault_of};

/// How long a tunnel without streams is kept.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// How long a handshake may take.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long the farewell of a tunnel may take.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);
/// Tunnels of one key.
const PER_KEY: usize = 512;

/// Which connections may share a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// UID of the source pod.
    pub pod: Arc<str>,
    /// Address of the destination.
    pub destination: IpAddr,
    /// The names that may be proven there.
    pub expected: Arc<BTreeSet<SpiffeId>>,
}

impl Key {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.destination, TUNNEL_PORT)
    }
}

/// A tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Gone once it takes no new streams.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<u32>,
    idle_since: Cell<Instant>,
    certificate: Arc<Certificate>,
    session: Rc<Session>,
    closer: Rc<Closer>,
    broken: Broken,
}

impl Tunnel {
    /// Takes no new streams; closes with the last.
    fn retire(&self) {
        self.requests.borrow_mut().take();
    }

    fn is_retired(&self) -> bool {
        self.requests.borrow().is_none()
    }

    fn free_streams(&self) -> u32 {
        let requests = self.requests.borrow();
        let peers = requests.as_ref().map_or(0, SendRequest::current_max_send_streams);
        let limit = u32::try_from(peers).unwrap_or(STREAMS).min(STREAMS);
        limit.saturating_sub(self.streams.get())
    }

    /// Waits until it has had no stream for a while.
    async fn idle(&self) {
        loop {
            let since = self.idle_since.get();
            let wait = match self.streams.get() {
                0 => IDLE.saturating_sub(since.elapsed()),
                _ => IDLE,
            };
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// One stream's share of a tunnel.
#[derive(Debug)]
pub(crate) struct Lease {
    tunnel: Rc<Tunnel>,
    /// It was open before.
    pub reused: bool,
}

impl Lease {
    fn of(tunnel: &Rc<Tunnel>, reused: bool) -> Self {
        tunnel.streams.set(tunnel.streams.get() + 1);
        Self { tunnel: Rc::clone(tunnel), reused }
    }

    /// Where requests go; `None` when it was retired meanwhile.
    pub(crate) fn requests(&self) -> Option<SendRequest<Bytes>> {
        self.tunnel.requests.borrow().clone()
    }

    /// Who answers.
    pub(crate) fn peer(&self) -> &Arc<SpiffeId> {
        &self.tunnel.session.id
    }

    /// What ends it from this side.
    pub(crate) fn closer(&self) -> &Rc<Closer> {
        &self.tunnel.closer
    }

    /// What broke it, where TLS or the socket did.
    pub(crate) fn broken(&self) -> &Broken {
        &self.tunnel.broken
    }

    /// Keeps others from using a tunnel that just failed one.
    pub(crate) fn retire(&self) {
        self.tunnel.retire();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let left = self.tunnel.streams.get().saturating_sub(1);
        self.tunnel.streams.set(left);
        if left == 0 {
            self.tunnel.idle_since.set(Instant::now());
        }
    }
}

type Opening = Shared<LocalBoxFuture<'static, Result<(), Failure>>>;

/// The tunnels of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<HashMap<Key, Slot>>);

#[derive(Debug, Default)]
struct Slot {
    tunnels: Vec<Rc<Tunnel>>,
    opening: Option<Opening>,
}

impl Pool {
    /// A tunnel of `key` with a free stream, which shows `certificate`.
    fn ready(&self, key: &Key, certificate: &Arc<Certificate>) -> Option<Rc<Tunnel>> {
        let mut slots = self.0.borrow_mut();
        let slot = slots.get_mut(key)?;
        slot.tunnels.retain(|tunnel| {
            if !Arc::ptr_eq(&tunnel.certificate, certificate) || tunnel.session.is_leaving() {
                tunnel.retire();
            }
            !tunnel.is_retired()
        });
        slot.tunnels.iter().find(|tunnel| tunnel.free_streams() > 0).cloned()
    }

    fn put(&self, key: &Key, tunnel: Rc<Tunnel>) {
        self.0.borrow_mut().entry(key.clone()).or_default().tunnels.push(tunnel);
    }

    fn remove(&self, key: &Key, tunnel: &Rc<Tunnel>) {
        let mut slots = self.0.borrow_mut();
        let Some(slot) = slots.get_mut(key) else { return };
        slot.tunnels.retain(|known| !Rc::ptr_eq(known, tunnel));
        if slot.tunnels.is_empty() && slot.opening.is_none() {
            slots.remove(key);
        }
    }

    /// Takes no new streams on any: relay is ending.
    pub(crate) fn retire_all(&self) {
        for slot in self.0.borrow().values() {
            slot.tunnels.iter().for_each(|tunnel| tunnel.retire());
        }
    }

    /// Tunnels that are up.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().values().map(|slot| slot.tunnels.len()).sum()
    }
}

/// A share of a tunnel of `key`, an open one or a new one.
///
/// # Errors
/// When none is open and none can be.
pub(crate) async fn acquire<S: Sockets>(
    worker: &Rc<Worker<S>>,
    key: &Key,
    certificate: &Arc<Certificate>,
) -> Result<Lease, Failure> {
    let counts = worker.reporter.counts();
    if let Some(tunnel) = worker.pool.ready(key, certificate) {
        counts.pool_hits.fetch_add(1, Ordering::Relaxed);
        return Ok(Lease::of(&tunnel, true));
    }
    counts.pool_misses.fetch_add(1, Ordering::Relaxed);
    loop {
        let opening = {
            let mut slots = worker.pool.0.borrow_mut();
            let slot = slots.entry(key.clone()).or_default();
            if slot.opening.is_none() && slot.tunnels.len() >= PER_KEY {
                return Err(Failure::new(
                    Reason::RelayExhausted,
                    format!("{PER_KEY} tunnels to {} are in use already", key.address()),
                ));
            }
            slot.opening.get_or_insert_with(|| start(worker, key, certificate)).clone()
        };
        opening.await?;
        // Who waited longest comes first; there may be more of them than streams.
        if let Some(tunnel) = worker.pool.ready(key, certificate) {
            return Ok(Lease::of(&tunnel, false));
        }
    }
}

/// Opens a tunnel in a task of its own: who asked first may give up, others wait for it too.
fn start<S: Sockets>(worker: &Rc<Worker<S>>, key: &Key, certificate: &Arc<Certificate>) -> Opening {
    let (worker, key, certificate) = (Rc::clone(worker), key.clone(), Arc::clone(certificate));
    let task = tokio::task::spawn_local(async move {
        let opened = open(&worker, &key, certificate).await;
        let mut slots = worker.pool.0.borrow_mut();
        if let Some(slot) = slots.get_mut(&key) {
            slot.opening = None;
            if slot.tunnels.is_empty() {
                slots.remove(&key);
            }
        }
        opened
    });
    async move { task.await.unwrap_or_else(|_| Err(Failure::new(Reason::Draining, "relay is ending"))) }
        .boxed_local()
        .shared()
}

async fn open<S: Sockets>(
    worker: &Rc<Worker<S>>,
    key: &Key,
    certificate: Arc<Certificate>,
) -> Result<(), Failure> {
    let to = key.address();
    let handshake = worker
        .handshakes
        .begin(&key.pod, None)
        .map_err(|error| Failure::new(Reason::RelayExhausted, error.to_string()))?;
    let counts = worker.reporter.counts();
    let under_way = Gauge::hold(counts, |counts| &counts.handshakes_under_way);
    let socket =
        worker.sockets.connect(&key.pod, to, None).await.map_err(|error| Failure::of_tunnel(&error, to))?;
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
    let session = Session::of(stream.get_ref().1, false).map_err(|fault| Failure::of_tls(&fault, to))?;
    let (stream, broken) = Watched::new(stream);
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(STREAMS as usize)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| Failure::new(Reason::PeerNotHbone, format!("tunnel to {to}: HTTP/2: {error}")))?;
    counts.handshakes.fetch_add(1, Ordering::Relaxed);
    drop((handshake, under_way));
    let session = Rc::new(session);
    let place = worker.open.enter(&key.pod, What::Session(Rc::clone(&session)));
    let tunnel = Rc::new(Tunnel {
        requests: RefCell::new(Some(requests)),
        streams: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        certificate,
        session,
        closer: Rc::clone(place.closer()),
        broken,
    });
    worker.pool.put(key, Rc::clone(&tunnel));
    tokio::task::spawn_local(drive(Rc::clone(worker), key.clone(), tunnel, connection, place));
    Ok(())
}

/// Keeps a tunnel going until it ends.
async fn drive<S: Sockets, T>(
    worker: Rc<Worker<S>>,
    key: Key,
    tunnel: Rc<Tunnel>,
    mut connection: h2::client::Connection<T>,
    place: Place,
) where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let _up = Gauge::hold(worker.reporter.counts(), |counts| &counts.tunnels_out);
    let answers = connection.ping_pong().map(alive);
    let silent = async {
        match answers {
            Some(alive) => alive.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(peer = %tunnel.session.id, %error, "a tunnel ended");
            }
        }
        () = silent => place.closer().close(Reason::PeerFailed),
        _ = place.closer().closed() => {}
        () = async {
            // Others take new streams, and what is left may finish.
            tunnel.session.leaves().await;
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
    worker.pool.remove(&key, &tunnel);
}
