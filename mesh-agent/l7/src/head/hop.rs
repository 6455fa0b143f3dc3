//! Fields that end at this hop (RFC 9110, 7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::BadHead;
use super::framing::trim;
use crate::detect::is_token;

/// Those that HTTP/2 has not (RFC 9113, 8.2.2).
pub const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a field is never passed on as it came.
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == TE || CONNECTION_SPECIFIC.contains(name)
}

/// The names in `connection`, lower case.
fn named(headers: &HeaderMap) -> impl Iterator<Item = Vec<u8>> {
    let lists = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let names = lists.flat_map(|list| list.split(|&byte| byte == b',')).map(trim);
    // RFC 9110, 5.6.1.2: empty members are ignored.
    names.filter(|name| !name.is_empty()).map(<[u8]>::to_ascii_lowercase)
}

/// Whether `connection` has an option.
#[must_use]
pub fn has_option(headers: &HeaderMap, option: &str) -> bool {
    named(headers).any(|name| name == option.as_bytes())
}

/// Checks `connection`: names only, and none of a field that says where the message ends or goes. Such
/// a field taken away would make another message of it for the server.
pub(super) fn check(headers: &HeaderMap) -> Result<(), BadHead> {
    let wrong = |name: &Vec<u8>| {
        let held = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];
        !name.iter().all(|&byte| is_token(byte)) || held.iter().any(|held| held.as_str().as_bytes() == name)
    };
    match named(headers).find(wrong) {
        Some(name) => Err(BadHead::Connection(String::from_utf8_lossy(&name).chars().take(100).collect())),
        None => Ok(()),
    }
}

/// Takes away what ends at this hop: every field that `connection` names, and the ones that always
/// do. `te: trailers` is kept where it was said: gRPC needs it, and trailers are passed on (RFC 9110,
/// 6.5.1); towards HTTP/1 the engine names it in `connection`.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        named(headers).filter_map(|name| HeaderName::from_bytes(&name).ok()).collect();
    let members = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let trailers = members.map(trim).any(|member| member.eq_ignore_ascii_case(b"trailers"));
    for name in names.iter().chain(&CONNECTION_SPECIFIC).chain([&TE]) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}
