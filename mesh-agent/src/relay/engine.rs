//! The L7 engine: HTTP/1.1, HTTP/2, gRPC and WebSocket for the ports that a route or an L7 rule names.
//!
//! One connection of a client is served as a series of requests. Each is brought to one form
//! ([`message`]), decided on ([`decide`]; the decisions are those of the crate `mesh-l7`), sent to an
//! endpoint over a pooled connection ([`pool`], [`upstream`]), tried again where that is safe
//! ([`forward`]), and told of once ([`record`]). Bodies stream both ways frame by frame ([`body`]);
//! nothing is buffered but the beginning of a request that may be sent again ([`replay`]).
//!
//! At the source's node the decision is by routes and an endpoint is picked; at the destination's it
//! is by policy and the endpoint is the pod. The engine does not know which it is.
//!
//! # Why no HTTP/1 server of hyper's
//!
//! Read in hyper 1.12 (`proto/h1/role.rs`, `encode.rs`) and httparse 1.10:
//!
//! - `Transfer-Encoding` beside `Content-Length` is taken, and the length removed before anybody sees
//!   it; a line may end in a bare LF; a fragment in the target is dropped. Each would need a second
//!   parser in front of hyper's, over the same bytes and with the same idea of where a message ends.
//! - The server cannot send 103, or 100 when the upstream does: a 1xx becomes a 500, and `Expect` is
//!   answered when the body is first read. The client side hides 1xx but for a callback.
//! - Trailers go out only if `Trailer` names them; a body of unknown length under GET is cut off.
//! - Field names lose their spelling but in a private extension that cannot be read.
//!
//! So HTTP/1 is a codec of our own ([`http1`]): `httparse` for lines, `mesh-l7` for what a head may
//! say, the chunked coding and the framing here. For HTTP/2 it is `h2` itself ([`http2`]), which has
//! what hyper does not pass on: interim responses both ways, resets with their codes, the peer's limit
//! of streams, extended CONNECT. What hyper adds to `h2` (a body trait, executors) is not needed.
//!
//! # What a client sees that it would not see without
//!
//! A client that ends its side of an HTTP/1 connection while it waits is taken to have gone, as most
//! proxies and servers have it (RFC 9112, 9.6 leaves it open), and its request is given up. Names of
//! fields keep their spelling between two sides of HTTP/1, the text beside a status does not. An
//! endpoint's connection is another's than the client's, so its end is not heard while nothing is
//! asked. `Via` is not written: the engine stands where the kernel would have passed the bytes.
//!
//! | module | what it does |
//! |---|---|
//! | [`detect`] | what a connection speaks, from its first octets |
//! | [`server`] | clients' connections, in either version |
//! | [`http1`], [`http2`], [`body`], [`frame`] | the two versions, and bodies in both |
//! | [`message`] | heads between connections |
//! | [`exchange`], [`forward`], [`attempt`], [`answer`], [`websocket`], [`mirror`] | one request's life |
//! | [`request`], [`replay`], [`rest`], [`cut`], [`failure`] | what its stages share |
//! | [`connect`], [`upstream`], [`pool`], [`balance`] | endpoints |
//! | [`respond`], [`refuse`], [`record`] | the way back, and telling |
//! | [`limits`], [`patience`], [`tally`] | bounds |

pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod balance;
pub(crate) mod body;
pub(crate) mod connect;
pub(crate) mod cut;
pub(crate) mod decide;
pub(crate) mod detect;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod forward;
pub(crate) mod frame;
pub(crate) mod guard;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod limits;
pub(crate) mod message;
pub(crate) mod mirror;
pub(crate) mod patience;
pub(crate) mod pool;
pub(crate) mod record;
pub(crate) mod refuse;
pub(crate) mod replay;
pub(crate) mod request;
pub(crate) mod respond;
pub(crate) mod rest;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod upstream;
pub(crate) mod websocket;

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use decide::{Decide, Dial};
use detect::{Opaque, Speaks};
use limits::Limits;
use pool::Pool;
use record::Tell;
use replay::Kept;
use tally::Tally;

/// How long a client's connection without an octet stays open while the engine drains.
const FAREWELL: Duration = Duration::from_secs(1);

/// A stream of octets, of a client or of an endpoint.
///
/// Its shutdown is the one orderly end: a stream that is dropped without it was given up, and its
/// peer must not take what it has got for whole ([`socket`]).
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A stream of any kind.
pub(crate) type Io = Box<dyn Stream>;

/// What is known of a client's connection.
pub(crate) struct Connection {
    /// Decides on its requests.
    pub decide: Rc<dyn Decide>,
    /// Connects to endpoints in its name.
    pub dial: Rc<dyn Dial>,
    /// Is told of its requests.
    pub tell: Rc<dyn Tell>,
    /// What it speaks.
    pub speaks: Speaks,
    /// UID of the local pod whose it is: its source's, or its destination's. Its requests are bounded
    /// together.
    pub pod: Arc<str>,
    /// Who may use the connections that are made for it.
    pub sharing: Sharing,
}

/// Who may use connections to endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Every connection of this name, such as a pod's UID.
    Among(Arc<str>),
    /// The one that they are made for: a server is shown its client's address.
    Nobody,
}

/// How a connection was served.
pub(crate) enum Served {
    /// As HTTP, to its end.
    Http,
    /// Not at all: it does not speak HTTP, or is silent.
    Opaque {
        /// The stream.
        stream: Io,
        /// What was read from it.
        first: Bytes,
        /// What it seems to be.
        what: Opaque,
    },
}

/// The engine of one worker.
#[derive(Debug)]
pub(crate) struct Engine {
    limits: Arc<Limits>,
    pool: Rc<Pool>,
    /// Requests under way, by endpoint.
    under_way: Rc<Tally<SocketAddr>>,
    /// The same, by local pod.
    of_pods: Rc<Tally<Arc<str>>>,
    kept: Rc<Kept>,
    mirrors: Rc<Cell<usize>>,
    random: Cell<u64>,
    draining: watch::Sender<bool>,
}

/// A client's connection while it is served.
pub(crate) struct Session {
    engine: Rc<Engine>,
    connection: Connection,
    pool: Rc<Pool>,
    scope: Arc<str>,
}

impl Session {
    fn tell(&self) -> Rc<dyn Tell> {
        Rc::clone(&self.connection.tell)
    }
}

impl Engine {
    /// One with bounds.
    pub(crate) fn new(limits: Limits) -> Rc<Self> {
        let limits = Arc::new(limits);
        Rc::new(Self {
            pool: Pool::new(Arc::clone(&limits)),
            limits,
            under_way: Rc::default(),
            of_pods: Rc::default(),
            kept: Rc::default(),
            mirrors: Rc::default(),
            // The standard library seeds every `RandomState` differently: random enough to pick by.
            random: Cell::new(RandomState::new().build_hasher().finish()),
            draining: watch::Sender::new(false),
        })
    }

    /// Serves a client's connection to its end, on the `LocalSet` it is called in.
    pub(crate) async fn serve(self: &Rc<Self>, mut stream: Io, connection: Connection) -> Served {
        let silent = async {
            self.draining().await;
            // What is on its way is served: its client could not know.
            tokio::time::sleep(FAREWELL).await;
        };
        let first = tokio::select! {
            biased;
            first = detect::first(&mut stream, connection.speaks, &self.limits) => first,
            () = silent => detect::First::Gone,
        };
        let (pool, scope) = match &connection.sharing {
            Sharing::Among(scope) => (Rc::clone(&self.pool), Arc::clone(scope)),
            Sharing::Nobody => (Pool::new(Arc::clone(&self.limits)), Arc::from("")),
        };
        let session = Rc::new(Session { engine: Rc::clone(self), connection, pool, scope });
        match first {
            detect::First::Http1(first) => server::http1::serve(&session, stream, first).await,
            detect::First::Http2(first) => {
                server::http2::serve(session, Box::new(detect::Prefixed::new(first, stream))).await;
            }
            detect::First::Opaque(first, what) => return Served::Opaque { stream, first, what },
            // A client that was not there yet, or is not any more, sees an orderly end.
            detect::First::Gone => drop(stream.shutdown().await),
        }
        Served::Http
    }

    /// Takes no new requests on any connection; those that are open may finish.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
        self.pool.retire_all();
    }

    /// Whether it takes no new requests.
    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until it takes none.
    async fn draining(&self) {
        let mut draining = self.draining.subscribe();
        // It ends with this engine only.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// The next random number: splitmix64 (G. Steele, D. Lea, C. Flood, 2014).
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
