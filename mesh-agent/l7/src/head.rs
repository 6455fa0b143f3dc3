//! Whether a request's head is one that every server reads alike.
//!
//! Requests are smuggled past a proxy where it and the server behind it disagree on where one ends or
//! what it asks for. The parsers (httparse, h2) refuse what breaks the grammar. This is the rest: what
//! RFC 9110, 9112 and 9113 forbid and a parser lets pass, and what they permit but no honest client
//! sends.
//!
//! | module | what it looks at |
//! |---|---|
//! | [`check`](fn@check) | a parsed head: target, host, framing, connection, upgrade |
//! | [`framing`] | `content-length` and `transfer-encoding` |
//! | [`target`] | the form of the target, the host and the path |
//! | [`upgrade`] | WebSocket, and what is not upgraded |
//! | [`hop`] | fields that end at this hop |

pub mod error;
pub mod framing;
pub mod hop;
#[cfg(any(test, feature = "fuzzing"))]
pub mod raw;
pub mod target;
#[cfg(test)]
mod tests;
pub mod upgrade;

use http::header::{EXPECT, TE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri, Version};

use crate::host::Host;
use crate::path::Path;
pub use error::BadHead;
use upgrade::Upgrade;

/// How many header fields a request may have. More are 431, as in most servers.
pub const FIELD_LIMIT: usize = 128;
/// How many bytes names and values of all fields may have together, counted as HTTP/2 counts them,
/// with 32 more for each (RFC 9113, 6.5.2).
pub const SIZE_LIMIT: usize = 64 * 1024;

/// A head as the parser gives it.
#[derive(Debug, Clone, Copy)]
pub struct Parsed<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<&'a str>,
}

/// What a good head asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The path, in normal form.
    pub path: Path,
    /// What follows `?`, as it came.
    pub query: Option<String>,
    /// The host; only a request of HTTP/1.0 may have none.
    pub host: Option<Host>,
    /// What it wants to go on as.
    pub upgrade: Upgrade,
}

/// Checks a parsed head.
///
/// # Errors
/// When it is to be answered [`BadHead::status`], and an HTTP/1 connection closed after that.
pub fn check(parsed: &Parsed<'_>) -> Result<Head, BadHead> {
    let http2 = match parsed.version {
        Version::HTTP_10 | Version::HTTP_11 => false,
        Version::HTTP_2 => true,
        version => return Err(BadHead::Version(version)),
    };
    sizes(parsed.headers)?;
    let target = target::read(parsed, http2)?;
    framing::length(parsed.headers)?;
    if http2 {
        http2_fields(parsed.headers)?;
    } else {
        framing::encoding(parsed.version, parsed.headers)?;
        hop::check(parsed.headers)?;
    }
    // RFC 9110, 10.1.1: 417 to an expectation nobody can meet.
    if let Some(value) = parsed
        .headers
        .get_all(EXPECT)
        .iter()
        .find(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(BadHead::Expect(error::shown(value)));
    }
    let upgrade = upgrade::wanted(parsed, http2)?;
    Ok(Head { path: target.path, query: target.query, host: target.host, upgrade })
}

fn sizes(headers: &HeaderMap) -> Result<(), BadHead> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    match headers.len() {
        fields if fields > FIELD_LIMIT => Err(BadHead::Fields(fields)),
        _ if size > SIZE_LIMIT => Err(BadHead::Size(size)),
        _ => Ok(()),
    }
}

/// What HTTP/2 has no fields for (RFC 9113, 8.2.2), and values that are none (8.2.1).
fn http2_fields(headers: &HeaderMap) -> Result<(), BadHead> {
    if let Some(name) = hop::CONNECTION_SPECIFIC.iter().find(|name| headers.contains_key(*name)) {
        return Err(BadHead::ConnectionSpecific(name.clone()));
    }
    if headers.get_all(TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err(BadHead::ConnectionSpecific(TE));
    }
    debug_assert!(!headers.contains_key(TRANSFER_ENCODING), "it is connection-specific");
    let spaced = |value: &[u8]| value.trim_ascii().len() != value.len();
    match headers.iter().find(|(_, value)| spaced(value.as_bytes())) {
        Some((name, _)) => Err(BadHead::Space(name.clone())),
        None => Ok(()),
    }
}
