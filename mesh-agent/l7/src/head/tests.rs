//! Heads that are refused, each with its status.

mod smuggling;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use proptest::prelude::*;

use super::upgrade::Upgrade;
use super::{BadHead, Head, Parsed, check, hop};
use crate::path::PathError;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn ask(version: Version, method: &str, target: &str, lines: &[(&str, &str)]) -> Result<Head, BadHead> {
    extended(version, method, target, lines, None)
}

fn extended(
    version: Version,
    method: &str,
    target: &str,
    lines: &[(&str, &str)],
    protocol: Option<&str>,
) -> Result<Head, BadHead> {
    let uri: Uri = target.parse().unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    check(&Parsed { method: &method, uri: &uri, version, headers: &map(lines), protocol })
}

const HTTP_11: Version = Version::HTTP_11;
const HTTP_2: Version = Version::HTTP_2;
const H: (&str, &str) = ("host", "vault");

fn refused(result: Result<Head, BadHead>) -> (u16, &'static str) {
    let error = result.unwrap_err();
    assert!(!error.to_string().is_empty());
    (error.status().as_u16(), error.name())
}

#[test]
fn good_heads() {
    for (version, method, target, lines) in [
        (HTTP_11, "GET", "/a?b=c", &[H][..]),
        (HTTP_11, "OPTIONS", "*", &[H]),
        (HTTP_11, "GET", "http://vault/a", &[("host", "other")]),
        (HTTP_11, "POST", "/", &[H, ("content-length", "0")]),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", " Chunked")]),
        (HTTP_11, "POST", "/", &[H, ("expect", "100-Continue")]),
        (HTTP_11, "GET", "/", &[H, ("connection", "close, te"), ("te", "trailers")]),
        (HTTP_11, "GET", "/", &[H, ("connection", "keep-alive, , x-mine")]),
        (Version::HTTP_10, "GET", "/", &[]),
        (HTTP_2, "GET", "http://vault/", &[]),
        (HTTP_2, "GET", "http://vault/", &[("host", "Vault."), ("te", "trailers")]),
        (HTTP_2, "GET", "/", &[H]),
    ] {
        assert!(ask(version, method, target, lines).is_ok(), "{method} {target} {lines:?}");
    }
    let head = ask(HTTP_11, "GET", "/a/../b?c=%zz", &[("host", "Vault.bank:8080")]).unwrap();
    assert_eq!(head.path.as_str(), "/b");
    assert_eq!(head.query.as_deref(), Some("c=%zz"));
    assert_eq!(head.host.unwrap().to_string(), "vault.bank:8080");
    assert_eq!(head.upgrade, Upgrade::None);
    // The target's host wins (RFC 9112, 3.2.2).
    let head = ask(HTTP_11, "GET", "http://target/", &[("host", "field")]).unwrap();
    assert_eq!(head.host.unwrap().name(), "target");
    assert_eq!(head.path.as_str(), "/");
    assert_eq!(ask(Version::HTTP_10, "GET", "/", &[]).unwrap().host, None);
}

#[test]
fn bad_heads() {
    for (version, method, target, lines, expected) in [
        (Version::HTTP_09, "GET", "/", &[H][..], (505, "Version")),
        (Version::HTTP_3, "GET", "/", &[H], (505, "Version")),
        (HTTP_11, "CONNECT", "vault:80", &[H], (501, "Connect")),
        (HTTP_2, "CONNECT", "vault:80", &[], (501, "Connect")),
        (HTTP_11, "GET", "*", &[H], (400, "Target")),
        (HTTP_11, "GET", "vault:80", &[H], (400, "Target")),
        (HTTP_11, "GET", "ftp://vault/", &[H], (400, "Target")),
        (HTTP_11, "GET", "/%00", &[H], (400, "Path")),
        (HTTP_11, "GET", "/..;/x", &[H], (400, "Path")),
        (HTTP_11, "GET", "/", &[], (400, "Host")),
        (HTTP_11, "GET", "http://vault/", &[], (400, "Host")),
        (HTTP_11, "GET", "/", &[("host", "")], (400, "Host")),
        (HTTP_11, "GET", "/", &[H, H], (400, "Host")),
        (HTTP_11, "GET", "/", &[("host", "vault, other")], (400, "Host")),
        (HTTP_11, "GET", "/", &[("host", "user@vault")], (400, "Host")),
        (HTTP_11, "GET", "/", &[("host", "vault/x")], (400, "Host")),
        (HTTP_11, "GET", "/", &[("host", "vault:80:80")], (400, "Host")),
        (HTTP_11, "GET", "http://user@vault/", &[H], (400, "Host")),
        (HTTP_2, "GET", "http://vault/", &[("host", "other")], (400, "Host")),
        (HTTP_2, "GET", "http://vault/", &[("host", "vault:81")], (400, "Host")),
        (HTTP_2, "GET", "http://user@vault/", &[], (400, "Host")),
        (HTTP_2, "GET", "/", &[], (400, "Host")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "+1")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "-1")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "0x1")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "1 1")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "5, 5")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "5"), ("content-length", "5")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("content-length", "18446744073709551616")], (400, "Framing")),
        (HTTP_2, "POST", "/", &[H, ("content-length", "5"), ("content-length", "6")], (400, "Framing")),
        (
            HTTP_11,
            "POST",
            "/",
            &[H, ("content-length", "5"), ("transfer-encoding", "chunked")],
            (400, "Framing"),
        ),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "identity")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "chunked, identity")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "chunked, chunked")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "xchunked")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", ", chunked")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "chunked;q=1")], (400, "Framing")),
        (HTTP_11, "POST", "/", &[H, ("transfer-encoding", "gzip, chunked")], (501, "Framing")),
        (
            HTTP_11,
            "POST",
            "/",
            &[H, ("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
            (501, "Framing"),
        ),
        (Version::HTTP_10, "POST", "/", &[H, ("transfer-encoding", "chunked")], (400, "Framing")),
        (HTTP_11, "GET", "/", &[H, ("connection", "host")], (400, "Connection")),
        (HTTP_11, "GET", "/", &[H, ("connection", "close, Content-Length")], (400, "Connection")),
        (HTTP_11, "GET", "/", &[H, ("connection", "transfer-encoding")], (400, "Connection")),
        (HTTP_11, "GET", "/", &[H, ("connection", "a b")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("connection", "close")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("keep-alive", "1")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("proxy-connection", "close")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("upgrade", "h2c")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("transfer-encoding", "chunked")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("te", "gzip")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("te", "trailers, gzip")], (400, "Connection")),
        (HTTP_2, "GET", "/", &[H, ("x", " a")], (400, "Syntax")),
        (HTTP_2, "GET", "/", &[H, ("x", "a\t")], (400, "Syntax")),
        (HTTP_11, "GET", "/", &[H, ("expect", "200-ok")], (417, "Expect")),
        (HTTP_11, "GET", "/", &[H, ("expect", "100-continue"), ("expect", "x")], (417, "Expect")),
    ] {
        let found = refused(ask(version, method, target, lines));
        assert_eq!(found, expected, "{version:?} {method} {target} {lines:?}");
    }
    let long = format!("/{}", "a".repeat(9000));
    assert_eq!(refused(ask(HTTP_11, "GET", &long, &[H])), (414, "PathTooLong"));
    assert_eq!(ask(HTTP_11, "GET", "/%", &[H]), Err(BadHead::Path(PathError::Escape(1))));
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("x", "y"), super::FIELD_LIMIT).chain([H]).collect();
    assert_eq!(refused(ask(HTTP_11, "GET", "/", &many)), (431, "HeadTooLarge"));
    let large = "a".repeat(super::SIZE_LIMIT);
    assert_eq!(refused(ask(HTTP_11, "GET", "/", &[H, ("x", &large)])), (431, "HeadTooLarge"));
}

const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
const V13: (&str, &str) = ("sec-websocket-version", "13");
const UPGRADE: (&str, &str) = ("upgrade", "websocket");
const OPTION: (&str, &str) = ("connection", "keep-alive, Upgrade");

#[test]
fn websockets() {
    let handshake = [H, UPGRADE, OPTION, KEY, V13];
    let upgrade = |version, method: &str, lines: &[(&str, &str)]| {
        ask(version, method, "/chat", lines).map(|head| head.upgrade)
    };
    assert_eq!(upgrade(HTTP_11, "GET", &handshake), Ok(Upgrade::WebSocket));
    let list = [H, ("upgrade", "h2c, WebSocket"), OPTION, KEY, V13];
    assert_eq!(upgrade(HTTP_11, "GET", &list), Ok(Upgrade::WebSocket));
    // Ignored: HTTP/1.0, without the connection option, and other protocols.
    assert_eq!(upgrade(Version::HTTP_10, "GET", &handshake), Ok(Upgrade::None));
    assert_eq!(upgrade(HTTP_11, "GET", &[H, UPGRADE, KEY, V13]), Ok(Upgrade::None));
    for other in ["h2c", "TLS/1.0", "websocket2", ""] {
        assert_eq!(upgrade(HTTP_11, "GET", &[H, ("upgrade", other), OPTION]), Ok(Upgrade::None));
    }
    for (method, lines, status) in [
        ("POST", &handshake[..], 400),
        ("GET", &[H, UPGRADE, OPTION, V13], 400),
        ("GET", &[H, UPGRADE, OPTION, V13, KEY, KEY], 400),
        ("GET", &[H, UPGRADE, OPTION, V13, ("sec-websocket-key", "short==")], 400),
        ("GET", &[H, UPGRADE, OPTION, V13, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR==")], 400),
        ("GET", &[H, UPGRADE, OPTION, KEY], 426),
        ("GET", &[H, UPGRADE, OPTION, KEY, ("sec-websocket-version", "8")], 426),
        ("GET", &[H, UPGRADE, OPTION, KEY, V13, V13], 426),
        ("GET", &[H, UPGRADE, OPTION, KEY, V13, ("content-length", "1")], 400),
        ("GET", &[H, UPGRADE, OPTION, KEY, V13, ("transfer-encoding", "chunked")], 400),
    ] {
        assert_eq!(refused(ask(HTTP_11, method, "/chat", lines)), (status, "WebSocket"), "{lines:?}");
    }
    let connect = |lines: &[(&str, &str)], protocol| {
        extended(HTTP_2, "CONNECT", "http://vault/chat", lines, Some(protocol))
    };
    assert_eq!(connect(&[V13], "websocket").unwrap().upgrade, Upgrade::WebSocket);
    assert_eq!(refused(connect(&[], "websocket")), (400, "WebSocket"));
    assert_eq!(refused(connect(&[V13], "connect-udp")), (501, "Connect"));
    let get = extended(HTTP_2, "GET", "http://vault/chat", &[V13], Some("websocket"));
    assert_eq!(refused(get), (400, "Target"));
    let http1 = extended(HTTP_11, "CONNECT", "vault:80", &[H, V13], Some("websocket"));
    assert_eq!(refused(http1), (501, "Connect"));
}

#[test]
fn what_ends_at_this_hop_is_taken_away() {
    let mut headers = map(&[
        ("connection", "close, X-Mine"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip, trailers;q=1"),
        ("te", "Trailers"),
        ("trailer", "x-sum"),
        ("x-mine", "1"),
        ("x-other", "2"),
        ("content-length", "7"),
    ]);
    hop::strip(&mut headers);
    let expected =
        map(&[("te", "trailers"), ("trailer", "x-sum"), ("x-other", "2"), ("content-length", "7")]);
    assert_eq!(headers, expected);
    let mut headers = map(&[("te", "gzip")]);
    hop::strip(&mut headers);
    assert!(headers.is_empty());
}

proptest! {
    /// Whatever the parser lets pass, the check ends, and what it lets pass is in normal form.
    #[test]
    fn nothing_breaks_it(
        version in prop::sample::select(vec![Version::HTTP_10, HTTP_11, HTTP_2]),
        target in "(http://[a-z@:0-9]{0,6})?(/[!-~]{0,8}){1,3}",
        values in prop::collection::vec("[ -~\t]{0,12}", 8),
    ) {
        let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
        let names = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "expect", "x"];
        let lines: Vec<(&str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
        for used in 0..lines.len() {
            let headers = map(&lines[..used]);
            let parsed = Parsed { method: &Method::GET, uri: &uri, version, headers: &headers, protocol: None };
            if let Ok(head) = check(&parsed) {
                let again = crate::path::Path::parse(head.path.as_str().as_bytes());
                prop_assert_eq!(again, Ok(head.path));
            }
        }
    }
}
