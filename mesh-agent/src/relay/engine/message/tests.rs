use super::{Arrived, Length, arrive, delimit, returned, to_http1, to_http2, websocket_key};
use crate::relay::engine::http1::head::{self, BadHead};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version};

fn http1(text: &str) -> Result<Arrived, BadHead> {
    arrive(head::request(&Bytes::from(format!("{text}\n\n").replace('\n', "\r\n")))?)
}

fn http2(uri: &str, fields: &[(&'static str, &'static str)]) -> Result<Arrived, BadHead> {
    let mut request = Request::get(uri).version(Version::HTTP_2).body(()).unwrap();
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    arrive(request)
}

#[test]
fn a_request_has_one_form_however_it_came() {
    for arrived in [
        http1(
            "GET /a/../b?c HTTP/1.1\nHost: vault:80\nConnection: x-hop, keep-alive\nX-Hop: 1\nKeep-Alive: 5\nTE: gzip, trailers\nUpgrade: h2c",
        ),
        http1("GET http://vault:80/%62?c HTTP/1.1\nHost: other\nTE: trailers"),
        http2("http://vault:80/b?c", &[("te", "trailers")]),
        http2("http://vault:80/b?c", &[("te", "trailers"), ("host", "VAULT:80")]),
    ] {
        let arrived = arrived.unwrap();
        assert_eq!(arrived.head.uri().to_string(), "/b?c");
        assert_eq!(arrived.path.as_str(), "/b");
        assert_eq!(arrived.host.unwrap().to_string(), "vault:80");
        assert_eq!(arrived.head.headers()["host"], "vault:80");
        assert_eq!(arrived.head.headers()["te"], "trailers");
        assert_eq!(arrived.head.headers().len(), 2);
        assert!(!arrived.websocket);
    }
    assert!(http1("GET / HTTP/1.0").unwrap().host.is_none());
    assert_eq!(http1("OPTIONS * HTTP/1.1\nHost: a").unwrap().head.uri(), "*");
}

#[test]
fn what_has_two_readings_is_refused() {
    for (text, status) in [
        ("GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1\nHost: a\nHost: a", 400),
        ("GET / HTTP/1.1\nHost: a b", 400),
        ("GET / HTTP/1.1\nHost: a@b", 400),
        ("GET / HTTP/1.1\nHost: a\nConnection: host", 400),
        ("GET / HTTP/1.1\nHost: a\nContent-Length: 5\nConnection: content-length", 400),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked", 400),
        ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked", 501),
        ("GET http://a@b/ HTTP/1.1\nHost: b", 400),
        ("GET a:80 HTTP/1.1\nHost: a", 400),
        ("GET ftp://a/ HTTP/1.1\nHost: a", 400),
        ("GET * HTTP/1.1\nHost: a", 400),
        ("GET /a\\b HTTP/1.1\nHost: a", 400),
        ("GET /a%00 HTTP/1.1\nHost: a", 400),
        ("GET /public/x%2F..%2F..%2Fadmin HTTP/1.1\nHost: a", 400),
        ("GET / HTTP/1.1\nHost: a\nExpect: 200-ok", 417),
        ("CONNECT a:80 HTTP/1.1\nHost: a:80", 501),
    ] {
        assert_eq!(http1(text).unwrap_err().status, status, "{text:?}");
    }
    assert!(http2("http://a/", &[("host", "b")]).is_err());
}

#[test]
fn a_request_leaves_in_the_form_of_the_version() {
    let mut arrived =
        http2("http://vault/b?c", &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]).unwrap();
    let (written, length) = to_http1(&arrived.head, false, false, 0, "10.0.0.1:80");
    assert_eq!(length, Length::Chunked);
    assert_eq!(written.headers()["cookie"], "a=1; b=2");
    assert_eq!(written.headers()["connection"], "te");
    assert_eq!(written.headers()["transfer-encoding"], "chunked");
    let (written, length) = to_http1(&arrived.head, false, true, 0, "10.0.0.1:80");
    assert_eq!((length, written.headers().contains_key("transfer-encoding")), (Length::None, false));
    arrived.head.headers_mut().insert("content-length", HeaderValue::from_static("7"));
    assert_eq!(to_http1(&arrived.head, false, false, 0, "10.0.0.1:80").1, Length::Exact(7));
    *arrived.head.method_mut() = Method::POST;
    arrived.head.headers_mut().remove("content-length");
    assert_eq!(to_http1(&arrived.head, false, true, 0, "10.0.0.1:80").0.headers()["content-length"], "0");

    let arrived = http1("GET /b?c HTTP/1.1\nHost: vault").unwrap();
    let written = to_http2(&arrived.head, false, "10.0.0.1:80").unwrap();
    assert_eq!(written.uri().to_string(), "http://vault/b?c");
    assert!(written.headers().is_empty());
    let arrived = http1("GET /b HTTP/1.0").unwrap();
    assert_eq!(to_http1(&arrived.head, false, true, 0, "10.0.0.1:80").0.headers()["host"], "10.0.0.1:80");
    assert_eq!(
        to_http2(&arrived.head, false, "10.0.0.1:80").unwrap().uri().to_string(),
        "http://10.0.0.1:80/b"
    );
}

#[test]
fn a_websocket_is_asked_for_in_either_version() {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = "http://vault/chat".parse().unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
    let over_http1 = "GET /chat HTTP/1.1\nHost: vault\nConnection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for arrived in [arrive(request).unwrap(), http1(over_http1).unwrap()] {
        assert!(arrived.websocket);
        let nonce = u128::from_be_bytes(*b"the sample nonce");
        let (written, length) = to_http1(&arrived.head, true, false, nonce, "10.0.0.1:80");
        assert_eq!((written.method(), length), (&Method::GET, Length::None));
        assert_eq!(written.headers()["upgrade"], "websocket");
        assert_eq!(written.headers()["connection"], "upgrade");
        assert_eq!(written.headers()["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
        let written = to_http2(&arrived.head, true, "").unwrap();
        assert_eq!((written.method(), written.uri().path()), (&Method::CONNECT, "/chat"));
        assert!(written.extensions().get::<h2::ext::Protocol>().is_some());
        assert!(!written.headers().contains_key("sec-websocket-key"));
    }
}

#[test]
fn the_key_is_base64_of_16_octets() {
    // "the sample nonce" of RFC 6455, 1.3.
    let nonce = u128::from_be_bytes(*b"the sample nonce");
    assert_eq!(websocket_key(nonce), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(websocket_key(u128::MAX), "/////////////////////w==");
}

#[test]
fn a_response_is_delimited_for_whom_it_goes_to() {
    let of = |status: u16, length: Option<&'static str>, method: Method, version, ended| {
        let mut response = Response::builder().status(status);
        if let Some(length) = length {
            response = response.header("content-length", length);
        }
        let mut response = response.body(()).unwrap();
        let delimited = delimit(&mut response, &method, version, ended);
        let fields =
            ["content-length", "transfer-encoding"].map(|name| response.headers().contains_key(name));
        (delimited, fields)
    };
    let (new, old) = (Version::HTTP_11, Version::HTTP_10);
    assert_eq!(of(200, Some("5"), Method::GET, new, false), (Length::Exact(5), [true, false]));
    assert_eq!(of(200, None, Method::GET, new, false), (Length::Chunked, [false, true]));
    assert_eq!(of(200, None, Method::GET, old, false), (Length::UntilClose, [false, false]));
    assert_eq!(of(200, None, Method::GET, new, true), (Length::None, [true, false]));
    assert_eq!(of(200, Some("5"), Method::HEAD, new, true), (Length::None, [true, false]));
    assert_eq!(of(304, Some("5"), Method::GET, new, true), (Length::None, [true, false]));
    assert_eq!(of(204, Some("5"), Method::GET, new, true), (Length::None, [false, false]));
}

#[test]
fn a_response_loses_what_was_the_connections() {
    let mut response = Response::builder()
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("transfer-encoding", "chunked")
        .header("upgrade", "h2c")
        .header("trailer", "x-sum")
        .body(())
        .unwrap();
    returned(&mut response);
    assert_eq!(response.headers().len(), 1);
    let mut hints = Response::builder().status(103).header("content-length", "5").body(()).unwrap();
    returned(&mut hints);
    assert!(hints.headers().is_empty());
}
