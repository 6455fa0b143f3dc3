//! What a message is between two connections: nothing of the one it came by, everything else.
//!
//! A request arrives in one form, whatever version brought it: origin form with the path in its
//! normal form, one `Host`, no field that concerns the connection only (RFC 9110, 7.6.1). It leaves
//! in the form that the upstream's version wants. The same for a response.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use mesh_l7::head::framing::length;
use mesh_l7::head::upgrade::Upgrade;
use mesh_l7::head::{Parsed, check, hop};
use mesh_l7::host::Host;
use mesh_l7::path::Path;

use super::http1::framing::{Length, has_body};
use super::http1::head::BadHead;

/// A request that arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Its head in the one form.
    pub head: Request<()>,
    /// Its path.
    pub path: Path,
    /// The host it names.
    pub host: Option<Host>,
    /// It asks for a WebSocket.
    pub websocket: bool,
}

/// Brings a request to the one form.
///
/// # Errors
/// When it is not one that everybody reads alike, with what it is to be answered.
pub(crate) fn arrive(mut head: Request<()>) -> Result<Arrived, BadHead> {
    let protocol = head.extensions_mut().remove::<h2::ext::Protocol>();
    let checked = check(&Parsed {
        method: head.method(),
        uri: head.uri(),
        version: head.version(),
        headers: head.headers(),
        protocol: protocol.as_ref().map(h2::ext::Protocol::as_str),
    })?;
    let authority = match head.uri().authority() {
        // RFC 9112, 3.2.2; RFC 9113, 8.3.1: it is the target's.
        Some(authority) => Some(HeaderValue::from_str(authority.as_str()).map_err(|_| MALFORMED)?),
        None => head.headers().get(header::HOST).cloned(),
    };
    let headers = head.headers_mut();
    hop::strip(headers);
    headers.remove("http2-settings");
    authority.and_then(|authority| headers.insert(header::HOST, authority));
    let target = match &checked.query {
        Some(query) => format!("{}?{query}", checked.path),
        None => checked.path.to_string(),
    };
    *head.uri_mut() = Uri::from(PathAndQuery::try_from(target).map_err(|_| MALFORMED)?);
    let websocket = checked.upgrade == Upgrade::WebSocket;
    Ok(Arrived { head, path: checked.path, host: checked.host, websocket })
}

const MALFORMED: BadHead = BadHead::bad("a malformed request target");

/// A request's head for HTTP/1.1, and how its body is delimited there.
pub(crate) fn to_http1(
    head: &Request<()>,
    websocket: bool,
    ended: bool,
    key: u128,
    dialled: &str,
) -> (Request<()>, Length) {
    let mut head = copy(head);
    *head.version_mut() = Version::HTTP_11;
    let method = head.method().clone();
    let headers = head.headers_mut();
    join_cookies(headers);
    if let (false, Ok(dialled)) = (headers.contains_key(header::HOST), HeaderValue::from_str(dialled)) {
        // HTTP/1.0 lets a request do without (RFC 9112, 3.2).
        headers.insert(header::HOST, dialled);
    }
    if headers.contains_key(header::TE) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.remove(header::CONTENT_LENGTH);
        // HTTP/2's clients send none (RFC 8441, 5).
        headers.entry(header::SEC_WEBSOCKET_KEY).or_insert_with(|| websocket_key(key));
        *head.method_mut() = Method::GET;
        return (head, Length::None);
    }
    let delimited = match length(headers) {
        Ok(Some(octets)) if octets > 0 && !ended => Length::Exact(octets),
        Ok(None) if !ended => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Length::Chunked
        }
        _ => {
            headers.remove(header::CONTENT_LENGTH);
            // RFC 9110, 8.6: where content would be expected.
            if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            Length::None
        }
    };
    (head, delimited)
}

/// A request's head for HTTP/2.
///
/// # Errors
/// When its target cannot be written so.
pub(crate) fn to_http2(
    head: &Request<()>,
    websocket: bool,
    dialled: &str,
) -> Result<Request<()>, http::Error> {
    let mut head = copy(head);
    *head.version_mut() = Version::HTTP_2;
    if websocket {
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        head.headers_mut().remove(header::CONTENT_LENGTH);
        head.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    }
    let host = head.headers_mut().remove(header::HOST);
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority =
        Some(Authority::try_from(host.as_ref().map_or(dialled.as_bytes(), HeaderValue::as_bytes))?);
    parts.path_and_query = Some(match head.uri().path_and_query() {
        Some(target) => target.clone(),
        None => PathAndQuery::from_static("/"),
    });
    *head.uri_mut() = Uri::from_parts(parts)?;
    Ok(head)
}

/// The same head once more: each attempt changes its own.
pub(crate) fn copy(head: &Request<()>) -> Request<()> {
    let mut copied = Request::new(());
    *copied.method_mut() = head.method().clone();
    *copied.uri_mut() = head.uri().clone();
    *copied.version_mut() = head.version();
    *copied.headers_mut() = head.headers().clone();
    *copied.extensions_mut() = head.extensions().clone();
    copied
}

/// HTTP/2 has cookies in several fields (RFC 9113, 8.2.3), HTTP/1 must not.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// 16 octets in base64 (RFC 6455, 4.1).
fn websocket_key(random: u128) -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 128 bits are 21 digits of 6 bits and one of 2.
    let digit = |at: u32| {
        let shift = 122_i32 - 6 * i32::try_from(at).unwrap_or_default();
        let bits = if shift >= 0 { random >> shift } else { random << -shift };
        DIGITS[usize::try_from(bits & 63).unwrap_or_default()]
    };
    let key: Vec<u8> = (0..22).map(digit).chain(*b"==").collect();
    HeaderValue::from_bytes(&key).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// Brings a response to the one form.
pub(crate) fn returned(response: &mut Response<()>) {
    hop::strip(response.headers_mut());
    if response.status().is_informational() {
        // RFC 9110, 8.6: it must not have one.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
}

/// Delimits a response's body for HTTP/1; `ended`: it is known to have no more.
pub(crate) fn delimit(response: &mut Response<()>, method: &Method, version: Version, ended: bool) -> Length {
    let status = response.status();
    let headers = response.headers_mut();
    if !has_body(method, status) {
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            // RFC 9110, 8.6: these must not have one.
            headers.remove(header::CONTENT_LENGTH);
        }
        return Length::None;
    }
    match length(headers) {
        Ok(Some(0)) => Length::None,
        Ok(Some(octets)) => Length::Exact(octets),
        _ if ended => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            Length::None
        }
        _ if version == Version::HTTP_10 => Length::UntilClose,
        _ => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Length::Chunked
        }
    }
}

#[cfg(test)]
mod tests;
