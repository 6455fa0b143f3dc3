//! A request as matchers see it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, Method};

use crate::host::Host;
use crate::path::{Path, octet};

/// The head of one request, its path and host in normal form.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a Path,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// The host it names, if it names one.
    pub host: Option<&'a Host>,
    query: Option<&'a str>,
    parameters: OnceCell<Parameters<'a>>,
}

/// By name, the first value of each.
type Parameters<'a> = HashMap<Cow<'a, [u8]>, Cow<'a, [u8]>>;

impl<'a> Request<'a> {
    /// Puts the parts together; `query` is what follows `?`, as it came.
    #[must_use]
    pub const fn new(
        method: &'a Method,
        path: &'a Path,
        query: Option<&'a str>,
        headers: &'a HeaderMap,
        host: Option<&'a Host>,
    ) -> Self {
        Self { method, path, headers, host, query, parameters: OnceCell::new() }
    }

    /// What follows `?`, as it came.
    #[must_use]
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The first value of a query parameter, as Gateway API recommends where it is repeated. Names
    /// and values are decoded as `application/x-www-form-urlencoded` (WHATWG URL, 5.1); the query is
    /// read once for all matchers.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let parameters = self.parameters.get_or_init(|| self.query.map(parse).unwrap_or_default());
        parameters.get(name.as_bytes()).map(Cow::as_ref)
    }

    /// The value of a header field, its lines combined where there are several (RFC 9110, 5.3;
    /// RFC 9113, 8.2.3 for `cookie`).
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let mut lines = self.headers.get_all(name).iter();
        let first = lines.next()?.as_bytes();
        let mut combined = Cow::Borrowed(first);
        for line in lines {
            let combined = combined.to_mut();
            combined.extend_from_slice(if name == COOKIE { b"; " } else { b", " });
            combined.extend_from_slice(line.as_bytes());
        }
        Some(combined)
    }
}

/// Whether `content-type` says gRPC: `application/grpc`, with a subtype or parameters or without (gRPC
/// over HTTP/2, "Requests"). gRPC-Web is not gRPC: its clients read statuses from elsewhere.
#[must_use]
pub fn has_grpc_type(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let (start, rest) = value.split_at_checked(b"application/grpc".len()).unwrap_or_default();
    start.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

fn parse(query: &str) -> Parameters<'_> {
    let mut parameters = Parameters::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.entry(decode(name)).or_insert_with(|| decode(value));
    }
    parameters
}

/// `+` is a space, an escape its octet, and a `%` that starts none is itself.
fn decode(text: &str) -> Cow<'_, [u8]> {
    let raw = text.as_bytes();
    if !raw.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, more @ ..] = rest {
        rest = more;
        let octet = (*first == b'%').then(|| more.get(..2).and_then(octet)).flatten();
        match (first, octet) {
            (_, Some(octet)) => {
                decoded.push(octet);
                rest = &more[2..];
            }
            (b'+', None) => decoded.push(b' '),
            (byte, None) => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::{Request, has_grpc_type};
    use crate::path::Path;
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    #[test]
    fn parameters_are_decoded_and_the_first_counts() {
        let (path, headers) = (Path::parse(b"/").unwrap(), HeaderMap::new());
        let query = "a=1&a=2&b&c=x+y%20z&%64=%zz%&e==&&f%3D=g";
        let request = Request::new(&Method::GET, &path, Some(query), &headers, None);
        for (name, value) in [("a", "1"), ("b", ""), ("c", "x y z"), ("d", "%zz%"), ("e", "="), ("f=", "g")] {
            assert_eq!(request.parameter(name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(request.parameter("A"), None);
        assert_eq!(request.parameter(""), None);
        assert_eq!(Request::new(&Method::GET, &path, None, &headers, None).parameter("a"), None);
    }

    #[test]
    fn lines_are_combined() {
        let path = Path::parse(b"/").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("x", "a"), ("x", "b"), ("cookie", "c=1"), ("cookie", "d=2"), ("y", "z")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let request = Request::new(&Method::GET, &path, None, &headers, None);
        for (name, value) in
            [("x", Some("a, b")), ("cookie", Some("c=1; d=2")), ("y", Some("z")), ("n", None)]
        {
            let found = request.header(&HeaderName::from_static(name));
            assert_eq!(found.as_deref(), value.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(value));
            assert_eq!(has_grpc_type(&headers), expected, "{value}");
        }
        assert!(!has_grpc_type(&HeaderMap::new()));
    }
}
