use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::{HeaderMatch, HttpMatch, MatchError, PathMatch, Pattern, QueryMatch, Reading, ValueMatch};
use crate::path::Path;
use crate::request::Request;

fn path(raw: &str) -> Path {
    Path::parse(raw.as_bytes()).unwrap()
}

#[test]
fn prefixes_go_by_segments() {
    // The examples of Gateway API's `PathPrefix`, and the corners beside them.
    for prefix in ["/abc", "/abc/", "/%61bc", "//abc"] {
        let prefix = PathMatch::prefix(prefix).unwrap();
        for (path, expected) in [
            ("/abc", true),
            ("/abc/", true),
            ("/abc/def", true),
            ("/abcd", false),
            ("/ab", false),
            ("/", false),
        ] {
            assert_eq!(prefix.matches(path), expected, "{path}");
        }
    }
    let all = PathMatch::prefix("/").unwrap();
    assert!(["/", "/a", "/a/", "*"].into_iter().all(|path| all.matches(path)));
}

#[test]
fn exact_is_exact() {
    let exact = PathMatch::exact("/abc").unwrap();
    for (path, expected) in
        [("/abc", true), ("/abc/", false), ("/Abc", false), ("/abcd", false), ("/abc/d", false)]
    {
        assert_eq!(exact.matches(path), expected, "{path}");
    }
    assert!(PathMatch::exact("/caf%c3%a9").unwrap().matches("/caf%C3%A9"));
}

#[test]
fn a_value_that_no_path_has_is_refused() {
    for value in ["", "abc", "*", "/a\\b", "/%00", "/a?b", "/..;/a"] {
        let error = PathMatch::exact(value).unwrap_err();
        assert!(matches!(error, MatchError::Path { .. }), "{value}: {error}");
        assert!(error.to_string().contains(&format!("{value:?}")), "{error}");
        assert!(PathMatch::prefix(value).is_err());
    }
    assert!(PathMatch::exact(&format!("/{}", "a".repeat(1024))).is_err());
}

#[test]
fn readings_of_a_path() {
    let below = PathMatch::prefix("/admin").unwrap();
    let all = [Reading::Plain, Reading::Every, Reading::Any];
    let ask = |path: &Path| all.map(|reading| below.matches_path(path, reading));
    assert_eq!(ask(&path("/admin/x")), [true, true, true]);
    assert_eq!(ask(&path("/admin%2Fx")), [false, false, true]);
    assert_eq!(ask(&path("/admin/x%2Fy")), [true, true, true]);
    assert_eq!(ask(&path("/other")), [false, false, false]);
    let one = PathMatch::regex("/v1/[^/]*").unwrap();
    let ask = |path: &Path| all.map(|reading| one.matches_path(path, reading));
    assert_eq!(ask(&path("/v1/a%2Fb")), [true, false, true]);
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter();
    lines.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).fold(
        HeaderMap::new(),
        |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        },
    )
}

#[test]
fn readings_of_a_header() {
    let gold =
        HeaderMatch { name: HeaderName::from_static("x-tier"), value: ValueMatch::Exact("gold".into()) };
    let ask = |lines: &[(&'static str, &'static str)]| {
        let (path, headers) = (path("/"), headers(lines));
        let request = Request::new(&Method::GET, &path, None, &headers, None);
        [Reading::Plain, Reading::Every, Reading::Any].map(|reading| gold.matches(&request, reading))
    };
    assert_eq!(ask(&[("x-tier", "gold")]), [true, true, true]);
    assert_eq!(ask(&[("x-tier", "gold"), ("x-tier", "iron")]), [false, false, true]);
    assert_eq!(ask(&[("x-tier", "gold"), ("x-tier", "gold")]), [false, false, true]);
    assert_eq!(ask(&[("x-tier", "iron")]), [false, false, false]);
    assert_eq!(ask(&[]), [false, false, false]);
}

#[test]
fn cookies_are_one_value() {
    let value = ValueMatch::Regex(Pattern::new("(.*; )?user=a(; .*)?").unwrap());
    let cookie = HeaderMatch { name: http::header::COOKIE, value };
    let (path, headers) = (path("/"), headers(&[("cookie", "b=c"), ("cookie", "user=a")]));
    let request = Request::new(&Method::GET, &path, None, &headers, None);
    assert!(cookie.matches(&request, Reading::Plain));
    assert!(cookie.matches(&request, Reading::Every));
}

#[test]
fn of_several_matchers_the_first_counts() {
    let header = |name: &str, value: &str| HeaderMatch {
        name: HeaderName::from_bytes(name.as_bytes()).unwrap(),
        value: ValueMatch::Exact(value.into()),
    };
    let query =
        |name: &str, value: &str| QueryMatch { name: name.into(), value: ValueMatch::Exact(value.into()) };
    let matcher = HttpMatch::new(
        PathMatch::prefix("/").unwrap(),
        None,
        vec![header("Foo", "1"), header("foo", "2")],
        vec![query("a", "1"), query("A", "2"), query("a", "3")],
    );
    assert_eq!(matcher.headers().len(), 1);
    assert_eq!(matcher.queries().len(), 2);
    let (path, headers) = (path("/"), headers(&[("foo", "1")]));
    let ask = |query| matcher.matches(&Request::new(&Method::GET, &path, Some(query), &headers, None));
    assert!(ask("a=1&A=2"));
    assert!(ask("A=2&a=1&a=7"));
    assert!(!ask("a=1"));
    assert!(!ask("a=3&A=2"));
}

proptest! {
    /// By segments, as the specification puts it.
    #[test]
    fn prefixes_are_lists_of_segments(prefix in "(/[ab]{1,2}){0,3}/?", asked in "(/[ab]{1,2}){0,4}/?") {
        prop_assume!(!prefix.is_empty() && !asked.is_empty());
        let segments = |text: &str| -> Vec<String> {
            text.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
        };
        let expected = segments(&asked).starts_with(&segments(&prefix));
        prop_assert_eq!(PathMatch::prefix(&prefix).unwrap().matches(&asked), expected);
    }
}
