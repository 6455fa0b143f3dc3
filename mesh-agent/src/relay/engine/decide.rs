//! The questions that the engine asks about a request, and what it may be told.
//!
//! Source and destination are the same engine with other answers: at the source [`Decide`] finds a
//! rule of the routes and picks among a backend's endpoints; at the destination it judges by policy
//! and the one endpoint is the pod itself.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http::{HeaderValue, Request, Response, StatusCode};
use mesh_l7::host::Host;
use mesh_l7::path::Path;
use mesh_l7::pick::Weighted;
use mesh_l7::retry::Retry;
use mesh_l7::timeouts::Timeouts;

use super::Io;
use super::record::{Ending, Labels};

/// What the engine is told about one connection's requests. It is asked anew for each, so that a
/// change takes effect on connections that are open.
pub(crate) trait Decide {
    /// What becomes of a request. The head may be changed: that is what goes on. `random` gives a number
    /// each time.
    fn decide(&self, request: &mut Asked<'_>, random: &dyn Fn() -> u64) -> Decision;
}

/// A request as it is decided on.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// Its head. The target is in origin form with the path in normal form; `Host` is the one host
    /// that it names; what concerns the connection only is gone.
    pub head: &'a mut Request<()>,
    /// Its path.
    pub path: &'a Path,
    /// The host it names.
    pub host: Option<&'a Host>,
}

/// What becomes of a request.
pub(crate) enum Decision {
    /// The route itself answers.
    Respond(Labels, Box<Response<Bytes>>),
    /// It is refused.
    Refuse(Labels, Refusal),
    /// It goes on.
    Forward(Box<Forward>),
}

/// An answer that is no success, made by the engine.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// Its status; of a gRPC call the nearest of gRPC's.
    pub status: StatusCode,
    /// gRPC's status, where it is not that of the HTTP status.
    pub grpc: Option<u16>,
    /// Why.
    pub ending: Ending,
    /// For whoever asked: one line.
    pub message: String,
    /// For an operator; may be empty.
    pub detail: String,
    /// The policy and rule, or an opaque id (SEMANTICS 5.8).
    pub denied_by: Option<HeaderValue>,
}

impl Refusal {
    /// One that says why.
    pub(crate) fn new(status: StatusCode, ending: Ending, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, grpc: None, ending, message, detail: String::new(), denied_by: None }
    }

    /// The same, with more for the operator.
    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

/// How a request goes on.
pub(crate) struct Forward {
    /// What decided.
    pub labels: Labels,
    /// Where to.
    pub backend: Arc<Backend>,
    /// The endpoint that was picked last: the engine notes it here.
    pub endpoint: Rc<Cell<Option<SocketAddr>>>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Whether it is tried again.
    pub retry: Option<Arc<Retry>>,
    /// Copies of it.
    pub mirrors: Vec<Mirror>,
    /// Changes the head of the answer.
    pub answer: Option<ChangeAnswer>,
    /// Ready when it may be open no more: policy has changed, or the endpoint has gone.
    pub revoked: Option<LocalBoxFuture<'static, Refusal>>,
}

/// Changes the head of an answer.
pub(crate) type ChangeAnswer = Rc<dyn Fn(&mut Response<()>)>;

/// What a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Whatever its clients speak.
    #[default]
    AsReceived,
}

/// How a backend's endpoints share its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Balance {
    /// The one of two with fewer requests.
    #[default]
    LeastRequests,
    /// One after another.
    RoundRobin,
}

/// Where requests go.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    /// Such as `shop/cart:80`; for texts.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// How it is balanced.
    pub balance: Balance,
    /// Its ready endpoints.
    pub endpoints: Vec<SocketAddr>,
    /// Those that its Service says are enrolled pods.
    pub enrolled: HashSet<SocketAddr>,
    /// They are a Service's; else what the application dialled itself.
    pub picked: bool,
    /// Their weights.
    pub weights: Weighted,
    /// Whose turn it is.
    pub turn: AtomicU64,
}

/// A copy of a request, whose answer nobody sees.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    /// Where it goes.
    pub backend: Arc<Backend>,
}

/// Makes connections to endpoints, as the source whose connection it is: through the tunnel, within
/// the node, or in plaintext.
pub(crate) trait Dial {
    /// Which kind of connection would lead to an endpoint now: one that was made as another kind is not used for new
    /// requests.
    fn kind(&self, _: &Backend, _: SocketAddr) -> Kind {
        Kind::default()
    }

    /// A stream to an endpoint.
    fn dial(
        &self,
        backend: &Backend,
        endpoint: SocketAddr,
    ) -> LocalBoxFuture<'static, Result<Io, DialFailure>>;
}

/// A kind of connection, such as plaintext or a tunnel: equal ones may be used for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Kind(pub u8);

/// No connection can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct DialFailure {
    /// What failed, for an operator.
    pub detail: String,
    /// A bound of relay's, not the endpoint.
    pub exhausted: bool,
}
