//! Why a head is refused, with what status, and under which name it is counted.

use http::{HeaderName, HeaderValue, StatusCode, Version};

use super::{FIELD_LIMIT, SIZE_LIMIT};
use crate::host::HostError;
use crate::path::PathError;

/// Why a head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// Neither HTTP/1.0, 1.1 nor 2.
    #[error("{0:?} is not spoken here")]
    Version(Version),
    /// Over [`FIELD_LIMIT`].
    #[error("{0} header fields; at most {FIELD_LIMIT} are taken")]
    Fields(usize),
    /// Over [`SIZE_LIMIT`].
    #[error("{0} bytes of header fields; at most {SIZE_LIMIT} are taken")]
    Size(usize),
    /// CONNECT, which asks for a tunnel.
    #[error("CONNECT; there is no proxy here")]
    Connect,
    /// An extended CONNECT for something else than WebSocket (RFC 8441, 4).
    #[error("CONNECT with `:protocol` {0:?}; only websocket is carried")]
    Protocol(String),
    /// A target in a form that its method has not (RFC 9112, 3.2).
    #[error("a request target of the wrong form")]
    Target,
    /// A scheme that is neither http nor https.
    #[error("a request target of another scheme than http and https")]
    Scheme,
    /// A path without a safe normal form.
    #[error(transparent)]
    Path(#[from] PathError),
    /// HTTP/1.1 or HTTP/2 without a host (RFC 9112, 3.2).
    #[error("no host")]
    NoHost,
    /// More than one `host` (RFC 9112, 3.2).
    #[error("{0} `host` fields")]
    SeveralHosts(usize),
    /// A host that is none.
    #[error(transparent)]
    Host(#[from] HostError),
    /// `:authority` and `host` differ (RFC 9113, 8.3.1).
    #[error("`:authority` and `host` differ")]
    HostsDiffer,
    /// A `content-length` that is no number, or several (RFC 9112, 6.3).
    #[error("a `content-length` that is not one number")]
    Length,
    /// `content-length` beside `transfer-encoding` (RFC 9112, 6.1).
    #[error("`content-length` and `transfer-encoding`")]
    LengthAndEncoding,
    /// A `transfer-encoding` that does not end in `chunked`, or in HTTP/1.0 (RFC 9112, 6.1 and 6.3).
    #[error("a `transfer-encoding` that does not say where the request ends")]
    Encoding,
    /// A coding besides `chunked` (RFC 9112, 6.1).
    #[error("a `transfer-encoding` besides chunked")]
    UnknownEncoding,
    /// A `connection` that is no list of tokens, or would take away what frames or routes the message.
    #[error("a `connection` that names {0:?}")]
    Connection(String),
    /// A field that HTTP/2 has not.
    #[error("`{0}` in HTTP/2")]
    ConnectionSpecific(HeaderName),
    /// A value with white space around it, in HTTP/2.
    #[error("white space around the value of `{0}`")]
    Space(HeaderName),
    /// Another expectation than `100-continue`.
    #[error("`expect` is {0:?}")]
    Expect(String),
    /// A WebSocket handshake that is none (RFC 6455, 4.2.1).
    #[error("no WebSocket handshake: {0}")]
    WebSocket(&'static str),
    /// A WebSocket of another version than 13 (RFC 6455, 4.2.2).
    #[error("a WebSocket of another version than 13")]
    WebSocketVersion {
        /// In HTTP/2, which has no 426.
        http2: bool,
    },
    /// A line that is none: RFC 9112, 2.2, 3 and 5.
    #[error("line {line} of the head: {fault}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What.
        fault: &'static str,
    },
}

impl BadHead {
    /// What it is answered.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Version(_) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Fields(_) | Self::Size(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Connect | Self::Protocol(_) | Self::UnknownEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Path(error) => error.status(),
            Self::Expect(_) => StatusCode::EXPECTATION_FAILED,
            // With `sec-websocket-version: 13`, by either status (RFC 6455, 4.4).
            Self::WebSocketVersion { http2: false } => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Version(_) => "Version",
            Self::Fields(_) | Self::Size(_) => "HeadTooLarge",
            Self::Connect | Self::Protocol(_) => "Connect",
            Self::Target | Self::Scheme => "Target",
            Self::Path(PathError::TooLong(_)) => "PathTooLong",
            Self::Path(_) => "Path",
            Self::NoHost | Self::SeveralHosts(_) | Self::Host(_) | Self::HostsDiffer => "Host",
            Self::Length | Self::LengthAndEncoding | Self::Encoding | Self::UnknownEncoding => "Framing",
            Self::Connection(_) | Self::ConnectionSpecific(_) => "Connection",
            Self::Space(_) | Self::Line { .. } => "Syntax",
            Self::Expect(_) => "Expect",
            Self::WebSocket(_) | Self::WebSocketVersion { .. } => "WebSocket",
        }
    }
}

/// A value for a log, which is not where a client writes kilobytes.
pub(super) fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect()
}
