//! A rule of a route, as the engine needs it. The agent fills these types from discovery.

use std::sync::Arc;

use http::StatusCode;

use crate::filter::Filter;
use crate::pick::Weighted;
use crate::retry::Retry;
use crate::timeouts::Timeouts;

/// One rule of an HTTPRoute or GRPCRoute.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteRule {
    /// The route: `HTTPRoute/<namespace>/<name>`.
    pub route: Arc<str>,
    /// The rule's name, or `rules[0]` where it has none.
    pub name: Arc<str>,
    /// What is done to requests and responses, in order.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backends: Backends,
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// Whether a failed request is tried again.
    pub retry: Option<Retry>,
    /// The answer to every request of this rule: 500 where the controller refused a filter
    /// (SEMANTICS 8).
    pub fail: Option<StatusCode>,
}

/// A rule's backends and their shares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backends {
    list: Vec<Backend>,
    shares: Weighted,
}

impl Backends {
    /// Of backends with their weights.
    #[must_use]
    pub fn new(list: Vec<Backend>) -> Self {
        let shares = Weighted::new(list.iter().map(|backend| backend.weight));
        Self { list, shares }
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> &[Backend] {
        &self.list
    }

    /// The backend of a request, by weight. `None` where there is none, or none has a weight: 500, or
    /// UNAVAILABLE for gRPC.
    #[must_use]
    pub fn pick(&self, random: u64) -> Option<&Backend> {
        self.list.get(self.shares.pick(random, &[])?)
    }
}

/// One entry of `backendRefs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where requests go.
    pub destination: Destination,
    /// Its share of them, relative to the others'.
    pub weight: u32,
    /// What is done to requests that go there, after the rule's filters.
    pub filters: Vec<Filter>,
}

/// Where a backend's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A port of a Service. No route of that Service applies again (SEMANTICS 8: no chaining).
    Service {
        /// `<namespace>/<name>`.
        service: Arc<str>,
        /// The port of the Service.
        port: u16,
        /// What is spoken there.
        protocol: AppProtocol,
    },
    /// A reference that leads nowhere, and why: its share is answered 500, or UNAVAILABLE for gRPC.
    Invalid(Arc<str>),
}

/// What is spoken at a port: its `appProtocol` (KEP-3726), or the prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AppProtocol {
    /// Not said: detected.
    #[default]
    Unknown,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (`kubernetes.io/h2c`).
    Http2,
    /// gRPC, over HTTP/2.
    Grpc,
    /// WebSocket, over HTTP/1.1 (`kubernetes.io/ws`).
    WebSocket,
    /// Anything over TCP.
    Tcp,
    /// TLS that the mesh does not end.
    Tls,
}
