//! The order of entries against a naive reading of the specification: every match of every route is tried on the request as
//! the text of the Gateway API says, and of those that hold the criteria are gone through one after the other. The naive way
//! knows no ranks and no order of entries.

use mesh_api::resources::{HttpMatch, RouteTable, path_match};
use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};

use super::{NEXT, WEB, mesh, table};

/// A match as it is written.
#[derive(Debug, Clone)]
struct Written {
    path: Option<(&'static str, &'static str)>,
    method: Option<&'static str>,
    headers: Vec<&'static str>,
    queries: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct WrittenRoute {
    namespace_first: bool,
    created: Option<&'static str>,
    rules: Vec<Vec<Written>>,
}

#[derive(Debug, Clone)]
struct Request {
    path: &'static str,
    method: &'static str,
    headers: Vec<&'static str>,
    queries: Vec<&'static str>,
}

const NAMES: [&str; 3] = ["x", "y", "z"];

fn written() -> impl Strategy<Value = Written> {
    let literal =
        (select(vec!["Exact", "PathPrefix"]), select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c"]));
    let expression = (Just("RegularExpression"), select(vec!["/a.*", "/.*", "/a/[bc]"]));
    (
        option::of(prop_oneof![3 => literal, 1 => expression]),
        option::weighted(0.3, select(vec!["GET", "POST"])),
        subsequence(NAMES.to_vec(), 0..3),
        subsequence(NAMES.to_vec(), 0..3),
    )
        .prop_map(|(path, method, headers, queries)| Written { path, method, headers, queries })
}

fn route() -> impl Strategy<Value = WrittenRoute> {
    let created = option::of(select(vec!["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]));
    (any::<bool>(), created, vec(vec(written(), 1..4), 1..4))
        .prop_map(|(namespace_first, created, rules)| WrittenRoute { namespace_first, created, rules })
}

fn request() -> impl Strategy<Value = Request> {
    (
        select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/a/c", "/abc"]),
        select(vec!["GET", "POST", "PUT"]),
        subsequence(NAMES.to_vec(), 0..=3),
        subsequence(NAMES.to_vec(), 0..=3),
    )
        .prop_map(|(path, method, headers, queries)| Request { path, method, headers, queries })
}

fn yaml(routes: &[WrittenRoute]) -> String {
    let one = |(index, route): (usize, &WrittenRoute)| {
        let rules: Vec<String> = route.rules.iter().map(|matches| yaml_rule(matches)).collect();
        let created =
            route.created.map(|created| format!(", creationTimestamp: '{created}'")).unwrap_or_default();
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {}, namespace: shop, generation: 3{created}}}
spec: {{parentRefs: [{WEB}], rules: [{}]}}
",
            name(index, route),
            rules.join(", ")
        )
    };
    routes.iter().enumerate().map(one).collect()
}

/// Names whose alphabet is not the order in which routes are written.
fn name(index: usize, route: &WrittenRoute) -> String {
    if route.namespace_first { format!("a{index}") } else { format!("b{}", 9 - index) }
}

fn yaml_rule(matches: &[Written]) -> String {
    let values = |names: &[&str]| {
        names.iter().map(|name| format!("{{name: {name}, value: v}}")).collect::<Vec<_>>().join(", ")
    };
    let one = |written: &Written| {
        let path = written.path.map(|(kind, value)| format!("path: {{type: {kind}, value: '{value}'}}, "));
        let method = written.method.map(|method| format!("method: {method}, "));
        format!(
            "{{{}{}headers: [{}], queryParams: [{}]}}",
            path.unwrap_or_default(),
            method.unwrap_or_default(),
            values(&written.headers),
            values(&written.queries)
        )
    };
    format!("{{matches: [{}], {NEXT}}}", matches.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Whether a prefix, by segments, is one of a path's.
fn begins(path: &str, prefix: &str) -> bool {
    let segments =
        |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    segments(path).starts_with(&segments(prefix))
}

fn whole(expression: &str, path: &str) -> bool {
    regex::Regex::new(&format!("^(?:{expression})$")).unwrap().is_match(path)
}

// The naive way.

fn holds(written: &Written, request: &Request) -> bool {
    let path = match written.path {
        None => true,
        Some(("Exact", value)) => request.path == value,
        Some(("PathPrefix", value)) => begins(request.path, value),
        Some((_, value)) => whole(value, request.path),
    };
    path && written.method.is_none_or(|method| method == request.method)
        && written.headers.iter().all(|name| request.headers.contains(name))
        && written.queries.iter().all(|name| request.queries.contains(name))
}

struct Candidate<'a> {
    route: &'a WrittenRoute,
    name: String,
    rule: usize,
    matched: usize,
    written: &'a Written,
}

/// Whether the first is to be given precedence.
fn goes_before(a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
    let exact = |candidate: &Candidate<'_>| candidate.written.path.is_some_and(|(kind, _)| kind == "Exact");
    if exact(a) != exact(b) {
        return exact(a);
    }
    if !exact(a) {
        // Nothing is a prefix of `/`; a trailing slash is ignored. Expressions come after every prefix but that one.
        let prefix = |candidate: &Candidate<'_>| match candidate.written.path {
            Some(("RegularExpression", _)) => None,
            None => Some(1),
            Some((_, value)) => Some(value.trim_end_matches('/').len().max(1)),
        };
        match (prefix(a), prefix(b)) {
            (Some(a), Some(b)) if a != b => return a > b,
            (Some(length), None) => return length > 1,
            (None, Some(length)) => return length == 1,
            _ => {}
        }
    }
    let (of_a, of_b) = (a.written, b.written);
    if of_a.method.is_some() != of_b.method.is_some() {
        return of_a.method.is_some();
    }
    if of_a.headers.len() != of_b.headers.len() {
        return of_a.headers.len() > of_b.headers.len();
    }
    if of_a.queries.len() != of_b.queries.len() {
        return of_a.queries.len() > of_b.queries.len();
    }
    if a.route.created != b.route.created {
        return match (a.route.created, b.route.created) {
            (Some(a), Some(b)) => a < b,
            (a, _) => a.is_some(),
        };
    }
    if a.name != b.name {
        return a.name < b.name;
    }
    (a.rule, a.matched) < (b.rule, b.matched)
}

fn naively(routes: &[WrittenRoute], request: &Request) -> Option<(String, usize)> {
    let mut best: Option<Candidate<'_>> = None;
    for (index, route) in routes.iter().enumerate() {
        for (rule, matches) in route.rules.iter().enumerate() {
            for (matched, written) in
                matches.iter().enumerate().filter(|(_, written)| holds(written, request))
            {
                let candidate = Candidate { route, name: name(index, route), rule, matched, written };
                if best.as_ref().is_none_or(|best| goes_before(&candidate, best)) {
                    best = Some(candidate);
                }
            }
        }
    }
    best.map(|best| (best.name, best.rule))
}

// As a node does it.

fn matches(entry: &HttpMatch, request: &Request) -> bool {
    let path = entry.path.as_ref().is_none_or(|path| match path.r#type() {
        path_match::Type::Exact => path.value == request.path,
        path_match::Type::Prefix => begins(request.path, &path.value),
        path_match::Type::Regex => whole(&path.value, request.path),
        path_match::Type::Unspecified => false,
    });
    path && (entry.method.is_empty() || entry.method == request.method)
        && entry.headers.iter().all(|header| request.headers.contains(&header.name.as_str()))
        && entry.queries.iter().all(|query| request.queries.contains(&query.name.as_str()))
}

fn by_table(table: &RouteTable, request: &Request) -> Option<(String, usize)> {
    let first = table.entries.iter().find(|entry| matches(entry.http.as_ref().unwrap(), request))?;
    let rule = &table.rules[first.rule as usize];
    let index = rule.rule.trim_start_matches("rules[").trim_end_matches(']').parse().unwrap();
    Some((rule.route.rsplit('/').next().unwrap().to_owned(), index))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_first_entry_that_matches_is_the_one_that_the_specification_prefers(
        routes in vec(route(), 1..4),
        requests in vec(request(), 1..12),
    ) {
        let table = table(&mesh(&yaml(&routes)));
        for request in requests {
            prop_assert_eq!(by_table(&table, &request), naively(&routes, &request), "{:?}", request);
        }
    }
}

/// (service, method, number of headers) of matches of a GRPCRoute, in the order of precedence.
#[test]
fn calls_are_preferred_by_service_method_and_headers() {
    let ordered = [
        "{method: {service: aa.Bb, method: Get}, headers: [{name: x, value: v}]}",
        "{method: {service: aa.Bb, method: Get}}",
        "{method: {service: aa.Bb}, headers: [{name: x, value: v}, {name: y, value: v}]}",
        "{method: {service: a.B, method: GetAll}}",
        "{method: {service: a.B, method: Get}}",
        "{method: {type: RegularExpression, service: 'a.*'}}",
        "{method: {method: Get}}",
        "{headers: [{name: x, value: v}]}",
        "{}",
    ];
    let rules: Vec<String> = ordered
        .iter()
        .rev()
        .enumerate()
        .map(|(index, text)| format!("{{name: r{}, matches: [{text}]}}", 8 - index))
        .collect();
    let table = table(&mesh(&super::of_web("GRPCRoute", "r", &format!("[{}]", rules.join(", ")))));
    let names: Vec<_> =
        table.entries.iter().map(|entry| table.rules[entry.rule as usize].rule.clone()).collect();
    assert_eq!(names, (0..9).map(|index| format!("r{index}")).collect::<Vec<_>>());
}
