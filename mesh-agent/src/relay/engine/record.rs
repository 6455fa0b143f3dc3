//! What is told of every request, once, when it is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method, StatusCode, Version};
use mesh_l7::ids::{REQUEST_ID, trace_id};

/// The longest identifier of a request that is told of.
const LONGEST_ID: usize = 128;

/// Where records go: metrics and the access log.
pub(crate) trait Tell {
    /// Takes the record of one request.
    fn tell(&self, record: &Record);
}

/// A name for a record; cheap to copy.
pub(crate) type Name = Option<Arc<str>>;

/// How a request ended; one name for log, metric and the header [`REASON`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// The upstream's answer went to the client whole.
    Forwarded,
    /// A route answered: a redirect, a CORS preflight.
    Answered,
    /// The stream was switched to another protocol and ended.
    Switched,
    /// No rule matches.
    NoRoute,
    /// A rule that cannot be applied.
    BadRoute,
    /// Policy.
    Denied,
    /// Not what HTTP allows.
    BadRequest,
    /// A head over its bound.
    HeadTooLarge,
    /// The client did not finish what it began.
    ClientTimeout,
    /// The client went away.
    ClientGone,
    /// The client takes nothing.
    ClientStuck,
    /// No endpoint is ready.
    NoEndpoint,
    /// No endpoint can be connected.
    ConnectFailed,
    /// A bound of this engine.
    Overflow,
    /// The upstream closed or reset before its answer was whole.
    UpstreamReset,
    /// The upstream's answer is not what HTTP allows.
    UpstreamProtocol,
    /// The route's timeout.
    TimedOut,
    /// The policy or the endpoint changed while it was open.
    Revoked,
}

/// Names an [`Ending`] in responses that the engine makes itself.
pub(crate) const REASON: http::HeaderName = http::HeaderName::from_static("x-mesh-reason");
/// Names the policy that denied, or the id by which `meshctl explain-denial` finds it (SEMANTICS 5.8).
pub(crate) const DENIED_BY: http::HeaderName = http::HeaderName::from_static("x-mesh-denied-by");

impl Ending {
    /// Every one.
    pub(crate) const ALL: [Self; 18] = [
        Self::Forwarded,
        Self::Answered,
        Self::Switched,
        Self::NoRoute,
        Self::BadRoute,
        Self::Denied,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::ClientTimeout,
        Self::ClientGone,
        Self::ClientStuck,
        Self::NoEndpoint,
        Self::ConnectFailed,
        Self::Overflow,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::TimedOut,
        Self::Revoked,
    ];

    /// Its name; where a connection's reason has the same, it means the same.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "Forwarded",
            Self::Answered => "Answered",
            Self::Switched => "Switched",
            Self::NoRoute => "NoRoute",
            Self::BadRoute => "BadRoute",
            Self::Denied => "Denied",
            Self::BadRequest => "InvalidRequest",
            Self::HeadTooLarge => "HeadTooLarge",
            Self::ClientTimeout => "ClientTimeout",
            Self::ClientGone => "ClientGone",
            Self::ClientStuck => "ClientStuck",
            Self::NoEndpoint => "NoEndpoint",
            Self::ConnectFailed => "ConnectFailed",
            Self::Overflow => "Overflow",
            Self::UpstreamReset => "UpstreamReset",
            Self::UpstreamProtocol => "UpstreamProtocol",
            Self::TimedOut => "RequestTimedOut",
            Self::Revoked => "Revoked",
        }
    }
}

/// What decided on a request, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Labels {
    /// Such as `HTTPRoute/shop/cart`.
    pub route: Name,
    /// The rule of the route.
    pub rule: Name,
    /// The backend, such as `shop/cart:80`.
    pub backend: Name,
    /// The policy that decided, where one did.
    pub policy: Name,
    /// The rule of that policy.
    pub policy_rule: Name,
    /// What an unproven caller was told in their place.
    pub denial: Name,
    /// The policy and rule in Audit mode that would have denied what was let through.
    pub audit: Name,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// When its head had come.
    pub at: SystemTime,
    /// What the client speaks.
    pub version: Version,
    /// Its method; `None` where the head could not be read.
    pub method: Option<Method>,
    /// The host it names.
    pub authority: String,
    /// Its path in normal form, without the query, which may hold secrets.
    pub path: String,
    /// Its `x-request-id`, as it went on.
    pub request_id: Option<String>,
    /// The trace that it is part of.
    pub trace: Option<String>,
    /// What decided on it.
    pub labels: Labels,
    /// The endpoint that answered, or was tried last.
    pub endpoint: Option<SocketAddr>,
    /// What the client was answered.
    pub status: Option<StatusCode>,
    /// `grpc-status`, from the head or the trailers.
    pub grpc_status: Option<u16>,
    /// Until the head of the answer.
    pub first_octet: Option<Duration>,
    /// Until its end.
    pub duration: Duration,
    /// Octets of content from the client.
    pub received: u64,
    /// Octets of content to the client.
    pub sent: u64,
    /// How often it was sent on.
    pub attempts: u32,
    /// It was copied to another backend.
    pub mirrored: bool,
    /// How it ended.
    pub ending: Ending,
    /// What failed, for an operator; may be empty.
    pub detail: String,
}

/// A record that is told when it is dropped, however the request ends.
pub(crate) struct Recording {
    record: Record,
    started: Instant,
    tell: std::rc::Rc<dyn Tell>,
}

impl Recording {
    /// Of a request whose head has come.
    pub(crate) fn start(tell: std::rc::Rc<dyn Tell>, version: Version) -> Self {
        let record = Record {
            at: SystemTime::now(),
            version,
            method: None,
            authority: String::new(),
            path: String::new(),
            request_id: None,
            trace: None,
            labels: Labels::default(),
            endpoint: None,
            status: None,
            grpc_status: None,
            first_octet: None,
            duration: Duration::ZERO,
            received: 0,
            sent: 0,
            attempts: 0,
            mirrored: false,
            // Whoever is dropped without a word was given up by the client.
            ending: Ending::ClientGone,
            detail: String::new(),
        };
        Self { record, started: Instant::now(), tell }
    }

    /// When it started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Notes by what the request is found again.
    pub(crate) fn identified(&mut self, headers: &HeaderMap) {
        let id = headers.get(REQUEST_ID).filter(|id| id.len() <= LONGEST_ID);
        self.record.request_id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        self.record.trace = trace_id(headers);
    }

    /// Notes the head of the answer.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.record.status = Some(status);
        self.record.first_octet = Some(self.started.elapsed());
        self.grpc(headers);
    }

    /// Notes `grpc-status` where it stands.
    pub(crate) fn grpc(&mut self, fields: &HeaderMap) {
        if let Some(status) = fields.get("grpc-status") {
            self.record.grpc_status = status.to_str().ok().and_then(|status| status.parse().ok());
        }
    }

    /// Notes how it ended.
    pub(crate) fn end(&mut self, ending: Ending, detail: impl Into<String>) {
        self.record.ending = ending;
        self.record.detail = detail.into();
    }
}

impl std::ops::Deref for Recording {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl std::ops::DerefMut for Recording {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        self.tell.tell(&self.record);
    }
}
