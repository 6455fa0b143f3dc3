//! Heads of HTTP/1 messages, read strictly and written (RFC 9112, 2 to 5).
//!
//! `httparse` knows the grammar of lines and refuses obs-fold, white space before a colon and
//! controls. What it lets pass and what must not pass is refused here: lines that end in a bare LF
//! (2.2 lets a recipient take them, and two that differ in this read different messages), and
//! fragments in a target, which `http::Uri` drops silently.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use crate::relay::engine::frame::Broken;

/// Fields of a head.
const FIELDS: usize = mesh_l7::head::FIELD_LIMIT;

/// A request that is answered before anybody looks at what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct BadHead {
    /// What it is answered.
    pub status: StatusCode,
    /// Why.
    pub why: Cow<'static, str>,
}

impl From<mesh_l7::head::BadHead> for BadHead {
    fn from(bad: mesh_l7::head::BadHead) -> Self {
        Self { status: bad.status(), why: Cow::Owned(bad.to_string()) }
    }
}

impl BadHead {
    /// A request that breaks the rules.
    pub(crate) const fn bad(why: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// One that is answered `status`.
    pub(crate) const fn new(status: StatusCode, why: &'static str) -> Self {
        Self { status, why: Cow::Borrowed(why) }
    }
}

/// Names as they were written, for those who are told apart by case although they must not be
/// (RFC 9110, 5.1): kept from one HTTP/1 side to the other.
#[derive(Debug, Clone)]
pub(crate) struct Spelling(Arc<[Bytes]>);

impl Spelling {
    fn of(&self, name: &HeaderName) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        self.0.iter().map(|written| &**written).find(|written| written.eq_ignore_ascii_case(name))
    }
}

/// Which kind of message a head begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With a method in front.
    Request,
    /// With a version in front.
    Response,
}

impl Kind {
    /// Whether a head may begin so: what is no HTTP may never have the end of one.
    fn begins(self, buffer: &[u8]) -> bool {
        const VERSION: &[u8] = b"HTTP/1.";
        match self {
            Self::Request => buffer.first().is_none_or(|first| is_token(*first) || *first == b'\r'),
            Self::Response => buffer.iter().zip(VERSION).all(|(came, expected)| came == expected),
        }
    }
}

/// A search for the end of a head, which goes on where it was when more has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Search {
    octets: usize,
    first_line: bool,
}

impl Search {
    /// Where the head in front of `buffer` ends, `None` before it has come. Of whatever is no HTTP
    /// that may never be, so the beginning is looked at as soon as it is there.
    ///
    /// # Errors
    /// When it cannot be one, or is longer than `most`.
    pub(crate) fn end(&mut self, buffer: &[u8], kind: Kind, most: usize) -> Result<Option<usize>, BadHead> {
        if !kind.begins(buffer) {
            return Err(BadHead::bad("what came is no HTTP message"));
        }
        while let Some(at) = buffer[self.octets..].iter().position(|byte| *byte == b'\n') {
            let at = self.octets + at;
            self.octets = at + 1;
            if at == 0 || buffer[at - 1] != b'\r' {
                return Err(BadHead::bad("a line that does not end in CRLF"));
            }
            if !std::mem::replace(&mut self.first_line, true)
                && kind == Kind::Request
                && !has_version(&buffer[..at])
            {
                return Err(refusal(httparse::Error::Token));
            }
            if at >= 3 && buffer[at - 2] == b'\n' {
                return if self.octets > most { Err(too_large(buffer)) } else { Ok(Some(self.octets)) };
            }
        }
        self.octets = buffer.len();
        if buffer.len() >= most { Err(too_large(buffer)) } else { Ok(None) }
    }
}

fn too_large(head: &[u8]) -> BadHead {
    if head.contains(&b'\n') {
        BadHead::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the message is too large")
    } else {
        BadHead::new(StatusCode::URI_TOO_LONG, "the first line of the message is too long")
    }
}

/// Drops empty lines in front of a request (RFC 9112, 2.2).
pub(crate) fn skip_empty_lines(buffer: &mut BytesMut) {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether every line ends in CR LF.
pub(crate) fn lines_end_in_crlf(head: &[u8]) -> bool {
    head.iter().enumerate().all(|(at, byte)| *byte != b'\n' || (at > 0 && head[at - 1] == b'\r'))
}

/// Reads a whole head.
///
/// # Errors
/// When it is malformed.
pub(crate) fn request(head: &Bytes) -> Result<Request<()>, BadHead> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(BadHead::bad("a malformed request head")),
        Err(error) => return Err(refusal(error)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(BadHead::bad("a malformed request line"));
    };
    if target.contains('#') {
        return Err(BadHead::bad("a fragment in the request target"));
    }
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(method.as_bytes()).map_err(|_| BadHead::bad("a malformed method"))?;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()))
        .map_err(|_| BadHead::bad("a malformed request target"))?;
    *request.version_mut() = numbered(version);
    let spelling =
        fill(request.headers_mut(), head, parsed.headers).ok_or(BadHead::bad("a malformed field"))?;
    spelling.and_then(|spelling| request.extensions_mut().insert(spelling));
    Ok(request)
}

/// Whether a request line has a version in its place, whichever.
fn has_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    words.next().is_some_and(|version| version.starts_with(b"HTTP/")) && words.next().is_none()
}

fn refusal(error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => {
            BadHead::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head has too many fields")
        }
        httparse::Error::Version => BadHead::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "a version that is neither HTTP/1.0 nor HTTP/1.1",
        ),
        httparse::Error::HeaderName => BadHead::bad("a malformed field name, or a folded line"),
        httparse::Error::HeaderValue => BadHead::bad("a control character in a field"),
        _ => BadHead::bad("a malformed request line"),
    }
}

/// Reads a whole head of a response.
///
/// # Errors
/// When it is malformed.
pub(crate) fn response(head: &Bytes) -> Result<Response<()>, Broken> {
    const MALFORMED: Broken = Broken::Malformed("a malformed response head");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Broken::TooLarge("a response head with too many fields"));
        }
        Ok(_) | Err(_) => return Err(MALFORMED),
    }
    let mut response = Response::new(());
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    *response.status_mut() = status.ok_or(MALFORMED)?;
    *response.version_mut() = parsed.version.map(numbered).ok_or(MALFORMED)?;
    let spelling = fill(response.headers_mut(), head, parsed.headers).ok_or(MALFORMED)?;
    spelling.and_then(|spelling| response.extensions_mut().insert(spelling));
    Ok(response)
}

fn numbered(minor: u8) -> Version {
    if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Takes the fields over; `None` when one is none.
#[expect(clippy::option_option, reason = "the inner one: whether any name is written in capitals")]
fn fill(into: &mut HeaderMap, head: &Bytes, fields: &[httparse::Header<'_>]) -> Option<Option<Spelling>> {
    into.reserve(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = match field.value {
            [] => HeaderValue::from_static(""),
            value => HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?,
        };
        into.append(name, value);
    }
    let written = fields.iter().filter(|field| field.name.bytes().any(|byte| byte.is_ascii_uppercase()));
    let written: Vec<Bytes> = written.map(|field| head.slice_ref(field.name.as_bytes())).collect();
    Some((!written.is_empty()).then(|| Spelling(written.into())))
}

/// Writes a request's head, in origin form (RFC 9112, 3.2.1).
pub(crate) fn write_request(into: &mut BytesMut, request: &Request<()>) {
    into.reserve(256);
    into.put_slice(request.method().as_str().as_bytes());
    into.put_u8(b' ');
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    into.put_slice(target.as_bytes());
    into.put_slice(b" HTTP/1.1\r\n");
    write_fields(into, request.headers(), request.extensions().get());
}

/// Writes a response's head.
pub(crate) fn write_response(into: &mut BytesMut, response: &Response<()>) {
    into.reserve(256);
    into.put_slice(b"HTTP/1.1 ");
    into.put_slice(response.status().as_str().as_bytes());
    into.put_u8(b' ');
    into.put_slice(response.status().canonical_reason().unwrap_or_default().as_bytes());
    into.put_slice(b"\r\n");
    write_fields(into, response.headers(), response.extensions().get());
}

/// Writes fields and the empty line after them.
pub(crate) fn write_fields(into: &mut BytesMut, fields: &HeaderMap, spelling: Option<&Spelling>) {
    for (name, value) in fields {
        let written = spelling.and_then(|spelling| spelling.of(name));
        into.put_slice(written.unwrap_or(name.as_str().as_bytes()));
        into.put_slice(b": ");
        into.put_slice(value.as_bytes());
        into.put_slice(b"\r\n");
    }
    into.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::{BadHead, Kind, Search, request, response, write_request, write_response};
    use bytes::{Bytes, BytesMut};
    use http::Version;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<http::Request<()>, BadHead> {
        let length = Search::default().end(text.as_bytes(), Kind::Request, 4096)?.expect("a whole head");
        assert_eq!(length, text.len());
        request(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_request_goes_out_as_it_came() {
        let text = "POST /a/b?c=d HTTP/1.1\r\nHost: vault\r\nx-lower: \u{e9}\r\nX-UPPER: 1\r\nX-Upper: 2\r\nEmpty: \r\n\r\n";
        let request = parse(text).unwrap();
        assert_eq!((request.version(), request.headers().len()), (Version::HTTP_11, 5));
        let mut written = BytesMut::new();
        write_request(&mut written, &request);
        let expected = text.replace("X-Upper: 2", "X-UPPER: 2");
        assert_eq!(String::from_utf8_lossy(&written), expected);
    }

    #[test]
    fn a_response_goes_out_as_it_came() {
        let text = "HTTP/1.1 204 No Content\r\nX-A: 1\r\nb: 2\r\n\r\n";
        let response = response(&Bytes::from_static(text.as_bytes())).unwrap();
        let mut written = BytesMut::new();
        write_response(&mut written, &response);
        assert_eq!(written, text.as_bytes());
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nX\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET /#a HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("G@T / HTTP/1.1\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}", 400),
            (" GET / HTTP/1.1\r\n\r\n", 400),
            ("*1\r\n$4\r\nPING\r\n", 400),
            ("GET / HTTP/1.2\r\n\r\n", 505),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET / http/1.1\r\n\r\n", 400),
        ] {
            assert_eq!(parse(text).unwrap_err().status, status, "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(129));
        assert_eq!(parse(&many).unwrap_err().status, 431);
        let long = format!("GET /{}", "a".repeat(5000));
        assert_eq!(Search::default().end(long.as_bytes(), Kind::Request, 4096).unwrap_err().status, 414);
        let large = format!("GET / HTTP/1.1\r\na: {}", "a".repeat(5000));
        assert_eq!(Search::default().end(large.as_bytes(), Kind::Request, 4096).unwrap_err().status, 431);
    }

    #[test]
    fn the_end_is_found_however_it_comes() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        let mut search = Search::default();
        for length in 0..head.len() {
            let found = search.end(&head[..length], Kind::Request, 4096).unwrap();
            if length >= 27 {
                assert_eq!(found, Some(27));
                return;
            }
            assert_eq!(found, None);
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for kind in [Kind::Request, Kind::Response] {
                let _ = Search::default().end(&bytes, kind, 64);
            }
            let bytes = Bytes::from(bytes);
            let _ = (request(&bytes), response(&bytes));
        }
    }
}
