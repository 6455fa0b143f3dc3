//! CORS: the cases of Gateway API's conformance, and those of the Fetch standard that it leaves out.

use http::{HeaderMap, Method, Response};

use super::{lines, map};
use crate::filter::cors::{Cors, Names};
use crate::filter::origin::OriginMatch;
use crate::filter::origin_of;

fn cors(origins: &[&str], methods: &[&str], headers: &[&str], expose: &[&str], credentials: bool) -> Cors {
    let names = |names: &[&str]| Names::new(names.iter().copied()).unwrap();
    Cors {
        origins: origins.iter().map(|origin| OriginMatch::parse(origin).unwrap()).collect(),
        methods: names(methods),
        headers: names(headers),
        expose: names(expose),
        credentials,
        max_age_seconds: 3600,
    }
}

fn preflight(cors: &Cors, origin: &str, method: &str, headers: &[&str]) -> Response<()> {
    let mut asked = map(&[("origin", origin), ("access-control-request-method", method)]);
    for line in headers {
        asked.append("access-control-request-headers", line.parse().unwrap());
    }
    cors.preflight(&Method::OPTIONS, &asked).unwrap()
}

fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = lines(headers, &format!("access-control-{name}"));
    assert!(lines.len() < 2, "{name}: {lines:?}");
    lines.into_iter().next()
}

#[test]
fn a_preflight_of_lists() {
    let origins = ["https://www.foo.com", "https://*.bar.com"];
    let lists = cors(
        &origins,
        &["GET", "OPTIONS"],
        &["x-header-1", "x-header-2"],
        &["x-header-3", "x-header-4"],
        true,
    );
    for origin in ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"] {
        let answer = preflight(&lists, origin, "GET", &["x-header-1, x-header-2"]);
        assert_eq!(answer.status(), 204);
        for (name, expected) in [
            ("allow-origin", origin),
            ("allow-methods", "GET, OPTIONS"),
            ("allow-headers", "x-header-1, x-header-2"),
            ("expose-headers", "x-header-3, x-header-4"),
            ("max-age", "3600"),
            ("allow-credentials", "true"),
        ] {
            assert_eq!(value(answer.headers(), name).as_deref(), Some(expected), "{origin} {name}");
        }
    }
    for origin in
        ["https://foobar.com", "http://www.foo.com", "https://bar.com", "https://www.foo.com:8443", "null"]
    {
        let answer = preflight(&lists, origin, "GET", &[]);
        assert_eq!(answer.status(), 403, "{origin}");
        assert!(answer.headers().keys().all(|name| name == "vary"), "{answer:?}");
    }
}

#[test]
fn wildcards_are_answered_with_what_is_asked() {
    for credentials in [false, true] {
        let all = cors(&["*"], &["*"], &["*"], &["*"], credentials);
        let answer = preflight(&all, "https://other.foo.com:123", "PUT", &["x-header-1", "x-header-2"]);
        assert_eq!(answer.status(), 204);
        let origin = if credentials { "https://other.foo.com:123" } else { "*" };
        assert_eq!(value(answer.headers(), "allow-origin").as_deref(), Some(origin));
        assert_eq!(value(answer.headers(), "allow-methods").as_deref(), Some("PUT"));
        assert_eq!(value(answer.headers(), "allow-headers").as_deref(), Some("x-header-1, x-header-2"));
        assert_eq!(value(answer.headers(), "expose-headers").as_deref(), (!credentials).then_some("*"));
        let shown = credentials.then_some("true");
        assert_eq!(value(answer.headers(), "allow-credentials").as_deref(), shown);
        // Nothing was asked: nothing is answered.
        let answer = preflight(&all, "https://other.foo.com", "PUT", &[]);
        assert_eq!(value(answer.headers(), "allow-headers"), None);
    }
    let none = cors(&["*"], &[], &[], &[], false);
    let answer = preflight(&none, "null", "GET", &["x"]);
    assert_eq!(value(answer.headers(), "allow-origin").as_deref(), Some("*"));
    for name in ["allow-methods", "allow-headers", "expose-headers"] {
        assert_eq!(value(answer.headers(), name), None, "{name}");
    }
}

#[test]
fn what_is_no_preflight_is_forwarded() {
    let all = cors(&["*"], &["*"], &[], &[], false);
    let asked = map(&[("origin", "https://a.b"), ("access-control-request-method", "GET")]);
    assert!(all.preflight(&Method::GET, &asked).is_none());
    assert!(all.preflight(&Method::OPTIONS, &map(&[("origin", "https://a.b")])).is_none());
    assert!(all.preflight(&Method::OPTIONS, &map(&[("access-control-request-method", "GET")])).is_none());
    // Two origins are none.
    let mut twice = asked;
    twice.append("origin", "https://c.d".parse().unwrap());
    assert_eq!(all.preflight(&Method::OPTIONS, &twice).unwrap().status(), 403);
}

#[test]
fn a_response_says_who_may_read_it() {
    let lists = cors(&["https://www.foo.com"], &["GET"], &[], &["x-header-3"], true);
    let respond = |cors: &Cors, origin: Option<&str>| {
        let asked: Vec<_> = origin.into_iter().map(|origin| ("origin", origin)).collect();
        let mut headers = map(&[
            ("access-control-allow-origin", "https://evil.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-secret"),
            ("vary", "accept, Accept-Encoding"),
            ("x-own", "1"),
        ]);
        cors.respond(origin_of(&map(&asked)), &mut headers);
        headers
    };
    let headers = respond(&lists, Some("https://www.foo.com"));
    assert_eq!(value(&headers, "allow-origin").as_deref(), Some("https://www.foo.com"));
    assert_eq!(value(&headers, "allow-credentials").as_deref(), Some("true"));
    assert_eq!(value(&headers, "expose-headers").as_deref(), Some("x-header-3"));
    assert_eq!(lines(&headers, "vary"), ["accept, Accept-Encoding", "origin"]);
    for origin in [Some("https://foobar.com"), None] {
        let headers = respond(&lists, origin);
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{headers:?}");
        assert_eq!(lines(&headers, "vary"), ["accept, Accept-Encoding", "origin"]);
    }
    let all = cors(&["*"], &["PUT"], &[], &["*"], false);
    let headers = respond(&all, Some("https://foobar.com:12345"));
    assert_eq!(value(&headers, "allow-origin").as_deref(), Some("*"));
    assert_eq!(value(&headers, "allow-credentials"), None);
    assert_eq!(value(&headers, "expose-headers").as_deref(), Some("*"));
    assert_eq!(lines(&headers, "vary"), ["accept, Accept-Encoding"]);
    let all = cors(&["*"], &["PUT"], &[], &["*"], true);
    let headers = respond(&all, Some("https://foobar.com"));
    assert_eq!(value(&headers, "allow-origin").as_deref(), Some("https://foobar.com"));
    assert_eq!(value(&headers, "expose-headers").as_deref(), Some("vary, x-own"));
}

#[test]
fn origins_match_by_scheme_host_and_port() {
    for (pattern, origin, expected) in [
        ("*", "null", true),
        ("https://a.com", "https://a.com", true),
        ("https://A.com", "https://a.COM", true),
        ("https://a.com", "https://a.com:443", true),
        ("https://a.com:443", "https://a.com", true),
        ("https://a.com", "https://a.com:8443", false),
        ("https://a.com:8443", "https://a.com:8443", true),
        ("http://a.com", "https://a.com", false),
        ("http://a.com", "http://a.com:80", true),
        ("https://*.a.com", "https://x.a.com", true),
        ("https://*.a.com", "https://x.y.a.com", true),
        ("https://*.a.com", "https://a.com", false),
        ("https://*.a.com", "https://.a.com", false),
        ("https://*.a.com", "https://evila.com", false),
        ("https://*.a.com", "https://evil.com/.a.com", false),
        ("https://*.a.com", "https://evil.com?.a.com", false),
        ("https://*.a.com", "https://evil.com#.a.com", false),
        ("https://*.a.com", "https://u@x.a.com", false),
        ("https://*", "https://any.host", true),
        ("https://*", "https://any.host:8443", false),
        ("https://*:8443", "https://any.host:8443", true),
        ("https://*", "https://[::1]", true),
        ("https://*", "null", false),
        ("https://*", "ftp://a", false),
        ("http://localhost:3000", "http://localhost:3000", true),
    ] {
        let matcher = OriginMatch::parse(pattern).unwrap();
        assert_eq!(matcher.matches(origin.as_bytes()), expected, "{pattern} {origin}");
    }
    for text in [
        "",
        "a.com",
        "ftp://a.com",
        "https://",
        "https://a.com:0",
        "https://a.com:x",
        "https://a.com/",
        "https://a.*.com",
        "https://**",
        "null",
        "https://a..b",
    ] {
        assert!(OriginMatch::parse(text).is_err(), "{text}");
    }
    for name in ["", "a b", "x,y", "é"] {
        assert!(Names::new([name]).is_err(), "{name}");
    }
}
