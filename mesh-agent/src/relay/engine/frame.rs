//! Parts of a message on its way, and why it may not arrive.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

/// A part of a body.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    /// Octets.
    Data(Bytes),
    /// The trailer section, after which nothing comes.
    Trailers(HeaderMap),
}

impl Frame {
    /// How many octets of content it has.
    pub(crate) fn octets(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

/// Why a message did not come or go to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// It is not what its protocol allows.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its head has more than is taken.
    #[error("{0}")]
    TooLarge(&'static str),
    /// The peer gave the stream up.
    #[error("the peer reset the stream: {0}")]
    Reset(h2::Reason),
    /// The peer has not touched the stream and never will.
    #[error("the peer has not processed the request: {0}")]
    Unprocessed(String),
    /// The connection ended before the message did.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Nothing moved for too long.
    #[error("nothing moved for {} seconds", .0.as_secs())]
    Stuck(Duration),
}

impl Broken {
    /// From an error of a socket.
    pub(crate) fn of_io(error: &std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }

    /// From an error of HTTP/2.
    pub(crate) fn of_h2(error: &h2::Error) -> Self {
        match error.reason() {
            // RFC 9113, 8.7: neither has been processed, and both may be tried again. With any other code
            // a GOAWAY also ends streams that were.
            Some(h2::Reason::REFUSED_STREAM) if error.is_reset() => Self::Unprocessed(error.to_string()),
            Some(h2::Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => {
                Self::Unprocessed(error.to_string())
            }
            Some(reason) if error.is_reset() && error.is_library() => {
                tracing::debug!(%error, "a stream broke the rules of HTTP/2");
                match reason {
                    h2::Reason::PROTOCOL_ERROR => Self::Malformed("the message is malformed in HTTP/2"),
                    reason => Self::Reset(reason),
                }
            }
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Lost(error.to_string()),
        }
    }

    /// What the peer on the other side is told of it by HTTP/2 (RFC 9113, 7).
    pub(crate) fn code(&self) -> h2::Reason {
        match self {
            Self::Reset(reason) => *reason,
            Self::Unprocessed(_) => h2::Reason::REFUSED_STREAM,
            Self::Stuck(_) => h2::Reason::CANCEL,
            Self::Malformed(_) | Self::TooLarge(_) | Self::Lost(_) => h2::Reason::INTERNAL_ERROR,
        }
    }
}
