//! What a request wants to go on as (RFC 9110, 7.8).
//!
//! Only WebSocket is carried: over HTTP/1.1 by `Upgrade` (RFC 6455), over HTTP/2 by an extended CONNECT
//! (RFC 8441). Any other `Upgrade` is ignored, as a server may, and not passed on, so that no server is
//! led to speak something else on a connection whose requests the mesh believes it reads: `h2c` above
//! all.

use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::framing::{length, trim};
use super::{BadHead, Parsed, hop};

/// What a request wants to go on as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// Itself.
    None,
    /// A WebSocket.
    WebSocket,
}

pub(super) fn wanted(parsed: &Parsed<'_>, http2: bool) -> Result<Upgrade, BadHead> {
    if http2 {
        if parsed.protocol.is_none() {
            return Ok(Upgrade::None);
        }
        version(parsed.headers, true)?;
        return Ok(Upgrade::WebSocket);
    }
    // RFC 9110, 7.8: ignored in HTTP/1.0; and without the connection option it is of another hop.
    let asked = parsed.version == Version::HTTP_11 && hop::has_option(parsed.headers, "upgrade");
    if !asked || !names_websocket(parsed.headers) {
        return Ok(Upgrade::None);
    }
    if *parsed.method != Method::GET {
        return Err(BadHead::WebSocket("the method is not GET"));
    }
    if parsed.headers.contains_key(TRANSFER_ENCODING)
        || length(parsed.headers)?.is_some_and(|length| length > 0)
    {
        return Err(BadHead::WebSocket("it has a body"));
    }
    version(parsed.headers, false)?;
    match only(parsed.headers, &SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key.as_bytes()) => Ok(Upgrade::WebSocket),
        _ => Err(BadHead::WebSocket("`sec-websocket-key` is not one nonce of 16 bytes in base64")),
    }
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    let mut members = lists.flat_map(|list| list.split(|&byte| byte == b',')).map(trim);
    members.any(|member| member.eq_ignore_ascii_case(b"websocket"))
}

fn version(headers: &HeaderMap, http2: bool) -> Result<(), BadHead> {
    match only(headers, &SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => Ok(()),
        _ => Err(BadHead::WebSocketVersion { http2 }),
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// 16 bytes in base64 (RFC 4648, 4): 22 digits, the last of 2 bits, and `==`.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22
            && digits.iter().all(digit)
            && matches!(digits.last(), Some(b'A' | b'Q' | b'g' | b'w'))
    })
}
