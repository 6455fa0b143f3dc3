//! The bodies of the fuzz targets in `mesh-agent/l7/fuzz`: what has to hold for any bytes at all.
//!
//! They are here so that the tests run them too, on bytes that proptest makes up. Each panics where
//! something does not hold.

mod choices;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::access::rule::{Action, GrpcRule, HttpRule, Requests, Rule, Tier};
use crate::access::{AtConnect, Connection, Policy};
use crate::detect::{Detected, WINDOW, detect};
use crate::head::{framing, raw};
use crate::host::{Host, HostMatch};
use crate::matching::{HeaderMatch, HttpMatch, PathMatch, QueryMatch, Reading, ValueMatch};
use crate::path::Path;
use crate::request::Request;
use crate::table::route::{Backends, RouteRule};
use crate::table::{RouteEntry, RouteKind, RouteTable};
use crate::timeouts::Timeouts;
use choices::Choices;

/// A final answer stays, and comes in time.
pub fn detector(bytes: &[u8]) {
    let mut last = Detected::NeedMore;
    for end in 0..=bytes.len() {
        let found = detect(&bytes[..end]);
        assert!(last == Detected::NeedMore || found == last, "{last:?} became {found:?} at byte {end}");
        assert!(end < WINDOW || found != Detected::NeedMore, "nothing is found in {end} bytes");
        last = found;
    }
}

/// A normal form is one, and no reading of it climbs, hides or doubles a separator.
pub fn normaliser(bytes: &[u8]) {
    let Ok(path) = Path::parse(bytes) else { return };
    let again = Path::parse(path.as_str().as_bytes());
    assert_eq!(again.as_ref(), Ok(&path), "not its own normal form");
    for reading in path.readings().filter(|reading| *reading != "*") {
        assert!(reading.starts_with('/') && reading.is_ascii(), "{reading:?}");
        let segments: Vec<&str> = reading.split('/').skip(1).collect();
        for (at, segment) in segments.iter().enumerate() {
            assert!(!matches!(*segment, "." | ".."), "{reading:?}");
            assert!(!segment.is_empty() || at + 1 == segments.len(), "{reading:?}");
        }
        assert!(
            !reading.bytes().any(|byte| byte <= b' ' || matches!(byte, 0x7f | b'\\' | b'?' | b'#')),
            "{reading:?}"
        );
    }
    if let Some(separated) = path.readings().nth(1) {
        assert!(!separated.contains("%2F") && !separated.contains("%5C"), "{separated:?}");
    }
    // And every matcher made of it matches it.
    if let Ok(exact) = PathMatch::exact(path.as_str()) {
        assert!(exact.matches_path(&path, Reading::Plain));
    }
}

/// The index finds what asking every entry finds.
pub fn route_matcher(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut entries = Vec::new();
    for rule in 0..choices.below(16) {
        let path = path_match(&mut choices);
        let method = choices.maybe().then(|| method(&mut choices));
        let headers = (0..choices.below(3)).map(|_| header_match(&mut choices)).collect();
        let queries = (0..choices.below(3))
            .map(|_| QueryMatch { name: word(&mut choices), value: value(&mut choices) });
        entries.push(RouteEntry { matches: HttpMatch::new(path, method, headers, queries.collect()), rule });
    }
    let rule = RouteRule {
        route: Arc::from("HTTPRoute/a/b"),
        name: Arc::from("rules[0]"),
        filters: Vec::new(),
        backends: Backends::default(),
        timeouts: Timeouts::default(),
        retry: None,
        fail: None,
    };
    let rules = vec![rule; entries.len()];
    let table = RouteTable::new(RouteKind::Http, entries, rules).expect("every entry has a rule");
    for _ in 0..4 {
        with_request(&mut choices, |request| assert_eq!(table.find(request), table.find_naively(request)));
    }
}

/// Rules about requests decide as they do one by one, and what is decided without a request holds
/// for every request.
pub fn access_rules(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut rules: Vec<Rule> = (0..choices.below(8)).map(|_| rule(&mut choices)).collect();
    rules.sort_by_key(|rule| (rule.tier, rule.tier == Tier::Access && rule.action != Action::Deny));
    let policy = Policy {
        rules,
        isolated: choices.maybe(),
        isolated_audit: choices.maybe(),
        default_deny: choices.maybe(),
        require_mtls: choices.maybe() && choices.maybe(),
        isolated_by: Arc::from("AccessPolicy/a/b"),
    };
    let proven = choices.maybe();
    let policy = Arc::new(policy);
    let connection = Connection::new(Arc::clone(&policy), proven, |_| true);
    let (at_connect, not_http) = (connection.at_connect(), connection.not_http());
    for _ in 0..4 {
        with_request(&mut choices, |request| {
            let verdict = connection.request(request);
            // The same rules with what they say of this request decided beforehand are rules of L4.
            let mut plain = Policy::clone(&policy);
            for rule in &mut plain.rules {
                rule.requests = if rule.matches(request) { Requests::All } else { Requests::None };
            }
            let decided = Connection::new(Arc::new(plain), proven, |_| true).at_connect();
            assert_eq!(decided, AtConnect::Decided(verdict));
            if let AtConnect::Decided(early) = at_connect {
                assert_eq!((early.allowed, early.audit_denies), (verdict.allowed, verdict.audit_denies));
            }
            assert!(verdict.allowed || !not_http.allowed, "what is not HTTP gets further");
        });
    }
}

/// A head that passes is one, and the check of parsed heads finds nothing in its framing either.
pub fn heads(bytes: &[u8]) {
    let Some(end) = raw::end(bytes) else { return };
    let head = &bytes[..end];
    assert_eq!(raw::end(head), Some(end), "the end moves");
    if raw::check(head).is_err() {
        return;
    }
    assert!(head.ends_with(b"\r\n\r\n") && !head.contains(&0));
    let mut headers = HeaderMap::new();
    let mut version = Version::HTTP_11;
    for line in head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        } else if line.ends_with(b" HTTP/1.0") {
            version = Version::HTTP_10;
        }
    }
    assert!(framing::length(&headers).is_ok() && framing::encoding(version, &headers).is_ok());
}

fn word(choices: &mut Choices<'_>) -> String {
    choices.of(&["a", "b", "ab", "admin", ""]).to_owned()
}

fn raw_path(choices: &mut Choices<'_>) -> String {
    let pieces = (0..choices.below(6))
        .map(|_| choices.of(&["/", "/a", "/b", "/ab", "/..", "/.", "%2f", "%61", ";", "*", "//"]));
    format!("/{}", pieces.collect::<String>())
}

fn path_match(choices: &mut Choices<'_>) -> PathMatch {
    let path = raw_path(choices);
    let made = match choices.below(3) {
        0 => PathMatch::exact(&path),
        1 => PathMatch::prefix(&path),
        _ => PathMatch::regex(choices.of(&["/a.*", ".*b", "/(a|b)/?", "/[^/]*"])),
    };
    made.or_else(|_| PathMatch::prefix("/")).expect("`/` is a path")
}

fn method(choices: &mut Choices<'_>) -> Method {
    choices.of(&[Method::GET, Method::POST, Method::OPTIONS])
}

fn value(choices: &mut Choices<'_>) -> ValueMatch {
    match choices.below(3) {
        0 => ValueMatch::Exact(word(choices)),
        1 => ValueMatch::Prefix(word(choices)),
        _ => ValueMatch::Present,
    }
}

fn header_name(choices: &mut Choices<'_>) -> HeaderName {
    choices.of(&[HeaderName::from_static("x"), HeaderName::from_static("y"), http::header::COOKIE])
}

fn header_match(choices: &mut Choices<'_>) -> HeaderMatch {
    HeaderMatch { name: header_name(choices), value: value(choices) }
}

fn rule(choices: &mut Choices<'_>) -> Rule {
    let tier = choices.of(&[Tier::Admin, Tier::Access, Tier::Baseline]);
    let actions = [Action::Allow, Action::Deny, Action::Pass];
    let action = choices.of(&actions[..if tier == Tier::Admin { 3 } else { 2 }]);
    let http = |choices: &mut Choices<'_>| HttpRule {
        methods: (0..choices.below(2)).map(|_| method(choices)).collect(),
        paths: (0..choices.below(3)).map(|_| path_match(choices)).collect(),
        headers: (0..choices.below(2)).map(|_| header_match(choices)).collect(),
        hosts: (0..choices.below(2))
            .filter_map(|_| HostMatch::parse(choices.of(&["a", "*.b"])).ok())
            .collect(),
    };
    let name = |choices: &mut Choices<'_>| choices.maybe().then(|| word(choices));
    let requests = match choices.below(4) {
        0 => Requests::All,
        1 => Requests::None,
        2 => Requests::Some { http: vec![http(choices)], grpc: Vec::new() },
        _ => {
            let grpc = GrpcRule { service: name(choices), method: name(choices) };
            Requests::Some { http: vec![http(choices)], grpc: vec![grpc] }
        }
    };
    Rule { tier, action, audit: choices.maybe(), policy: Arc::from("p"), name: Arc::from("r"), requests }
}

fn with_request(choices: &mut Choices<'_>, then: impl FnOnce(&Request<'_>)) {
    let Ok(path) = Path::parse(raw_path(choices).as_bytes()) else { return };
    let method = method(choices);
    let mut headers = HeaderMap::new();
    for _ in 0..choices.below(4) {
        let value = HeaderValue::try_from(word(choices)).expect("a word is a value");
        headers.append(header_name(choices), value);
    }
    let query: Vec<String> =
        (0..choices.below(4)).map(|_| format!("{}={}", word(choices), word(choices))).collect();
    let query = query.join("&");
    let host = Host::parse(choices.of(&["a", "a.b", "", "B"])).ok();
    then(&Request::new(&method, &path, choices.maybe().then_some(&query), &headers, host.as_ref()));
}
