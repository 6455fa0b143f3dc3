//! Filters against the tables and examples of Gateway API.

mod cors;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::headers::{HeaderModifier, ModifierError};
use super::mirror::{Fraction, Mirror};
use super::redirect::{Redirect, RedirectStatus, Scheme};
use super::rewrite::{Hostname, PathModifier, Rewrite};
use super::{Arrival, Changes, Filter, NoPrefix, Outcome, on_request, on_response};
use crate::host::Host;
use crate::path::Path;
use crate::table::route::Destination;

fn header(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
}

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| header(name, value)).fold(
        HeaderMap::new(),
        |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        },
    )
}

fn lines(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[test]
fn header_fields_are_set_added_and_removed() {
    let remove = vec![HeaderName::from_static("x-remove")];
    let modifier =
        HeaderModifier::new(vec![header("X-Set", "set")], vec![header("X-Add", "added")], remove).unwrap();
    let mut headers =
        map(&[("x-set", "a"), ("x-set", "b"), ("x-add", "own"), ("x-remove", "c"), ("x-other", "d")]);
    modifier.apply(&mut headers);
    assert_eq!(lines(&headers, "x-set"), ["set"]);
    assert_eq!(lines(&headers, "x-add"), ["own", "added"]);
    assert_eq!(lines(&headers, "x-remove"), [""; 0]);
    assert_eq!(lines(&headers, "x-other"), ["d"]);
    let mut headers = HeaderMap::new();
    modifier.apply(&mut headers);
    assert_eq!(lines(&headers, "x-set"), ["set"]);
    assert_eq!(lines(&headers, "x-add"), ["added"]);
}

#[test]
fn a_modifier_touches_no_framing() {
    let set = |name: &str| HeaderModifier::new(vec![header(name, "1")], Vec::new(), Vec::new());
    for name in ["Content-Length", "transfer-encoding", "Connection", "te", "upgrade", "keep-alive"] {
        let named = HeaderName::from_bytes(name.as_bytes()).unwrap();
        assert_eq!(set(name), Err(ModifierError::Connection(named)));
    }
    assert_eq!(set("host"), Err(ModifierError::Host));
    let name = HeaderName::from_static("x");
    let twice = HeaderModifier::new(vec![header("x", "1")], Vec::new(), vec![name.clone()]);
    assert_eq!(twice, Err(ModifierError::Repeated(name)));
}

#[test]
fn a_prefix_is_replaced_as_the_table_says() {
    for (path, prefix, replacement, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        // Not in the table of `HTTPPathModifier`.
        ("/foo/", "/foo/", "/xyz/", "/xyz/"),
        ("/foo", "/foo", "/xyz/", "/xyz"),
        ("/foo", "/", "/xyz", "/xyz/foo"),
        ("/", "/", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "xyz", "/xyz/bar"),
        ("/foo%2Fbar", "/", "/xyz", "/xyz/foo%2Fbar"),
        ("*", "/", "/xyz", "*"),
    ] {
        let matched = crate::matching::PathMatch::prefix(prefix).unwrap();
        let crate::matching::PathMatch::Prefix(prefix) = matched else { panic!("{matched:?}") };
        let result = PathModifier::prefix(replacement).unwrap().apply(path, Some(prefix.as_str()));
        assert_eq!(result.as_deref(), Ok(expected), "{path} {prefix:?} {replacement}");
    }
    assert_eq!(PathModifier::prefix("/a").unwrap().apply("/b", None), Err(NoPrefix));
    assert_eq!(PathModifier::full("/%7ea//b/../c").unwrap().apply("/b", None).as_deref(), Ok("/~a/c"));
    for value in ["/a?b", "/a#b", "/a b", "/%00", "/..;/"] {
        assert!(PathModifier::full(value).is_err(), "{value}");
        assert!(PathModifier::prefix(value).is_err(), "{value}");
    }
}

proptest! {
    /// What is rewritten is in normal form again.
    #[test]
    fn rewritten_paths_are_normal(
        prefix in "(/[a-c%]{1,3}){0,2}/?",
        rest in "(/[a-c.~-]{0,3}){0,3}",
        replacement in "[a-c/.%2F;]{0,8}",
    ) {
        let (Ok(crate::matching::PathMatch::Prefix(prefix)), Ok(modifier)) =
            (crate::matching::PathMatch::prefix(&prefix), PathModifier::prefix(&replacement))
        else {
            return Ok(());
        };
        let Ok(path) = Path::parse(format!("{}{rest}", prefix.as_str()).as_bytes()) else { return Ok(()) };
        if let Ok(rewritten) = modifier.apply(path.as_str(), Some(prefix.as_str())) {
            let again = Path::parse(rewritten.as_bytes());
            prop_assert_eq!(again.map(|path| path.as_str().to_owned()), Ok(rewritten));
        }
    }

    #[test]
    fn fractions_take_their_share(numerator in 0..50u32, more in 0..50u32, random: u64) {
        let denominator = (numerator + more).max(1);
        let fraction = Fraction::new(numerator, denominator).unwrap();
        let expected = random as f64 / 2f64.powi(64) * f64::from(denominator);
        // Away from the border, where the float is not exact.
        prop_assume!((expected - f64::from(numerator)).abs() > 1e-6);
        prop_assert_eq!(fraction.takes(random), expected < f64::from(numerator));
    }
}

#[test]
fn fractions_have_bounds() {
    assert!(Fraction::ALL.takes(u64::MAX));
    assert!(!Fraction::new(0, 100).unwrap().takes(0));
    assert!(Fraction::new(100, 100).unwrap().takes(u64::MAX));
    assert_eq!(Fraction::new(1, 0).unwrap_err().to_string().split(' ').next(), Some("1/0"));
    assert!(Fraction::new(3, 2).is_err());
}

fn redirected(redirect: Redirect, port: u16, prefix: Option<&str>, asked: &str) -> (u16, String) {
    let host = Host::parse("echo:8080").unwrap();
    let (path, query) = asked.split_once('?').map_or((asked, None), |(path, query)| (path, Some(query)));
    let arrival =
        Arrival { method: &Method::GET, scheme: Scheme::Http, port, host: &host, path, query, prefix };
    let filters = [Filter::Redirect(redirect)];
    match on_request(&filters, &arrival, &mut HeaderMap::new()) {
        Ok(Outcome::Answer(response)) => {
            let location = response.headers()["location"].to_str().unwrap().to_owned();
            (response.status().as_u16(), location)
        }
        other => panic!("{other:?}"),
    }
}

fn redirect() -> Redirect {
    Redirect { scheme: None, hostname: None, path: None, port: None, status: RedirectStatus::default() }
}

#[test]
fn a_redirect_has_every_part() {
    let path = |path| {
        redirected(
            Redirect { path: Some(path), ..redirect() },
            80,
            Some("/original-prefix"),
            "/original-prefix/lemon?a=b",
        )
    };
    let replaced = PathModifier::prefix("/replacement-prefix").unwrap();
    assert_eq!(path(replaced), (302, "http://echo/replacement-prefix/lemon?a=b".into()));
    assert_eq!(path(PathModifier::full("/full").unwrap()), (302, "http://echo/full?a=b".into()));
    let host = Redirect { hostname: Some(Hostname::parse("example.org").unwrap()), ..redirect() };
    assert_eq!(redirected(host.clone(), 80, None, "/a"), (302, "http://example.org/a".into()));
    for code in [301, 302, 303, 307, 308] {
        let status = RedirectStatus::new(code).unwrap();
        assert_eq!(redirected(Redirect { status, ..redirect() }, 80, None, "/").0, code);
    }
    for code in [200, 300, 304, 305, 306, 309, 400] {
        assert_eq!(RedirectStatus::new(code), None);
    }
    // What stands in no URI does not get into the header field either.
    let query = "/a?é=\"<x>\"#\u{7f}%41{}";
    assert_eq!(redirected(redirect(), 80, None, query).1, "http://echo/a?%C3%A9=%22%3Cx%3E%22%23%7F%41{}");
    assert_eq!(redirected(redirect(), 80, None, "*").1, "http://echo");
}

/// The cases of Gateway API's conformance on ports and schemes, and its rules beside them.
#[test]
fn a_redirects_port() {
    let https = Some(Scheme::Https);
    for (scheme, port, dialled, expected) in [
        (None, None, 80, "http://echo/a"),
        (None, None, 8080, "http://echo:8080/a"),
        (None, Some(80), 8080, "http://echo/a"),
        (None, Some(8083), 80, "http://echo:8083/a"),
        (None, Some(443), 80, "http://echo:443/a"),
        (https, None, 80, "https://echo/a"),
        (https, None, 8080, "https://echo/a"),
        (https, Some(443), 80, "https://echo/a"),
        (https, Some(8443), 80, "https://echo:8443/a"),
        (https, Some(80), 80, "https://echo:80/a"),
        (Some(Scheme::Http), None, 8080, "http://echo/a"),
    ] {
        let (_, location) = redirected(Redirect { scheme, port, ..redirect() }, dialled, None, "/a");
        assert_eq!(location, expected);
    }
}

#[test]
fn filters_run_in_order() {
    let modifier = |value| HeaderModifier::new(vec![header("x", value)], Vec::new(), Vec::new()).unwrap();
    let destination = Destination::Invalid(Arc::from("gone"));
    let mirror = Mirror { destination, fraction: Fraction::ALL };
    let rewrite = Rewrite { hostname: Some(Hostname::parse("One.example").unwrap()), path: None };
    let again = Rewrite { hostname: None, path: Some(PathModifier::prefix("/new").unwrap()) };
    let filters = [
        Filter::Mirror(mirror.clone()),
        Filter::RequestHeaders(modifier("first")),
        Filter::Rewrite(rewrite),
        Filter::ResponseHeaders(modifier("response")),
        Filter::RequestHeaders(modifier("last")),
        Filter::Rewrite(again),
        Filter::Mirror(mirror.clone()),
    ];
    let host = Host::parse("echo").unwrap();
    let arrival = Arrival {
        method: &Method::GET,
        scheme: Scheme::Http,
        port: 80,
        host: &host,
        path: "/old/x",
        query: None,
        prefix: Some("/old"),
    };
    let mut headers = HeaderMap::new();
    let Ok(Outcome::Forward(changes)) = on_request(&filters, &arrival, &mut headers) else {
        panic!("answered")
    };
    let expected =
        Changes { path: Some("/new/x".into()), host: Some("one.example"), mirrors: vec![&mirror, &mirror] };
    assert_eq!(changes, expected);
    assert_eq!(lines(&headers, "x"), ["last"]);
    let mut headers = HeaderMap::new();
    on_response(&filters, None, &mut headers);
    assert_eq!(lines(&headers, "x"), ["response"]);
    let without = Arrival { prefix: None, ..arrival };
    assert!(on_request(&filters, &without, &mut headers).is_err());
    for name in ["", "a:80", "[::1]", "a b", "*.a"] {
        assert!(Hostname::parse(name).is_err(), "{name}");
    }
}
