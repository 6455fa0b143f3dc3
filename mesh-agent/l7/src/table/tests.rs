//! The table against a naive reading of the specification, over random routes and requests.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::select;

use super::route::{Backends, RouteRule};
use super::{PortRoutes, RouteEntry, RouteKind, RouteTable, TableError};
use crate::matching::{HeaderMatch, HttpMatch, PathMatch, QueryMatch, ValueMatch};
use crate::path::Path;
use crate::request::Request;
use crate::timeouts::Timeouts;

fn rule(name: &str) -> RouteRule {
    RouteRule {
        route: Arc::from("HTTPRoute/bank/vault"),
        name: Arc::from(name),
        filters: Vec::new(),
        backends: Backends::default(),
        timeouts: Timeouts::default(),
        retry: None,
        fail: None,
    }
}

/// A match, as the test wrote it.
#[derive(Debug, Clone)]
struct Written {
    path: (&'static str, &'static str),
    method: Option<Method>,
    headers: Vec<(&'static str, &'static str)>,
    queries: Vec<(&'static str, &'static str)>,
}

impl Written {
    fn compile(&self) -> HttpMatch {
        let (kind, value) = self.path;
        let path = match kind {
            "Exact" => PathMatch::exact(value),
            "PathPrefix" => PathMatch::prefix(value),
            _ => PathMatch::regex(value),
        };
        let exact = |value: &str| ValueMatch::Exact(value.into());
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value: exact(value) });
        let queries =
            self.queries.iter().map(|(name, value)| QueryMatch { name: (*name).into(), value: exact(value) });
        HttpMatch::new(path.unwrap(), self.method.clone(), headers.collect(), queries.collect())
    }

    /// Straight from the words of `HTTPRouteMatch`.
    fn matches(&self, asked: &Asked) -> bool {
        let (kind, value) = self.path;
        let path = asked.path;
        let on_path = match kind {
            "Exact" => path == value,
            "PathPrefix" => {
                let elements = |path: &'static str| path.split('/').filter(|element| !element.is_empty());
                let (wanted, found): (Vec<_>, Vec<_>) = (elements(value).collect(), elements(path).collect());
                found.len() >= wanted.len() && found[..wanted.len()] == wanted[..]
            }
            _ => value == ".*" || value.trim_end_matches(".*") == path.get(..value.len() - 2).unwrap_or(""),
        };
        let first = |list: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
            let mut kept: Vec<(&str, &str)> = Vec::new();
            for (name, value) in list {
                if kept.iter().all(|(known, _)| known != name) {
                    kept.push((name, value));
                }
            }
            kept
        };
        on_path
            && self.method.as_ref().is_none_or(|method| *method == asked.method)
            && first(&self.headers).iter().all(|wanted| asked.headers.contains(wanted))
            && first(&self.queries).iter().all(|(name, value)| {
                asked.queries.iter().find(|(known, _)| known == name).is_some_and(|(_, found)| found == value)
            })
    }

    /// The order of `HTTPRouteRule.matches`; greater is first.
    fn precedence(&self) -> (u8, usize, bool, usize, usize) {
        let (kind, value) = self.path;
        let (kind, characters) = match kind {
            "Exact" => (2, 0),
            "PathPrefix" => (1, value.len()),
            _ => (0, 0),
        };
        (kind, characters, self.method.is_some(), self.headers.len(), self.queries.len())
    }
}

#[derive(Debug, Clone)]
struct Asked {
    path: &'static str,
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
    queries: Vec<(&'static str, &'static str)>,
}

fn pairs(
    names: &'static [&'static str],
    most: usize,
) -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::collection::vec((select(names), select(&["1", "2"][..])), 0..most)
}

fn method() -> impl Strategy<Value = Method> {
    select(vec![Method::GET, Method::POST])
}

fn written() -> impl Strategy<Value = Written> {
    let value = select(&["/", "/a", "/a/b", "/a/b/c", "/ab", "/b"][..]);
    let path = prop_oneof![
        4 => value.clone().prop_map(|value| ("Exact", value)),
        4 => value.prop_map(|value| ("PathPrefix", value)),
        1 => select(&["/a.*", "/b.*", ".*"][..]).prop_map(|value| ("RegularExpression", value)),
    ];
    (path, prop::option::weighted(0.3, method()), pairs(&["x", "y"], 3), pairs(&["p", "q"], 3))
        .prop_map(|(path, method, headers, queries)| Written { path, method, headers, queries })
}

fn asked() -> impl Strategy<Value = Asked> {
    let path =
        select(&["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/ab", "/abc", "/b", "/c"][..]);
    (path, method(), pairs(&["x", "y"], 3), pairs(&["p", "q"], 4)).prop_map(
        |(path, method, mut headers, queries)| {
            // Repeated header fields have their own tests.
            let mut names = std::collections::HashSet::new();
            headers.retain(|(name, _)| names.insert(*name));
            Asked { path, method, headers, queries }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Entries in the order of precedence of the specification, found as it says.
    #[test]
    fn the_first_in_precedence_is_found(
        mut written in prop::collection::vec(written(), 0..24),
        asked in prop::collection::vec(asked(), 8),
    ) {
        written.sort_by_key(|written| std::cmp::Reverse(written.precedence()));
        let entries = written.iter().enumerate();
        let entries: Vec<RouteEntry> =
            entries.map(|(rule, written)| RouteEntry { matches: written.compile(), rule }).collect();
        let rules = (0..written.len()).map(|number| rule(&number.to_string())).collect();
        let table = RouteTable::new(RouteKind::Http, entries, rules).unwrap();
        for asked in asked {
            let expected = written.iter().position(|written| written.matches(&asked));
            let path = Path::parse(asked.path.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            for (name, value) in &asked.headers {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let query: Vec<String> = asked.queries.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let query = query.join("&");
            let request = Request::new(&asked.method, &path, Some(&query), &headers, None);
            let found = table.find(&request);
            prop_assert_eq!(found.map(|found| found.entry), expected, "{:?}", asked);
            prop_assert_eq!(found, table.find_naively(&request));
            if let Some(found) = found {
                prop_assert_eq!(found.rule.name.as_ref(), found.entry.to_string());
            }
        }
    }

    #[test]
    fn any_bytes_do(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzzing::route_matcher(&bytes);
    }
}

#[test]
fn the_prefix_that_matched_is_told() {
    let matches = |path| HttpMatch::new(path, None, Vec::new(), Vec::new());
    let entries =
        [PathMatch::exact("/a"), PathMatch::prefix("/a/"), PathMatch::regex("/b.*"), PathMatch::prefix("/")];
    let entries =
        entries.into_iter().map(|path| RouteEntry { matches: matches(path.unwrap()), rule: 0 }).collect();
    let table = RouteTable::new(RouteKind::Http, entries, vec![rule("rules[0]")]).unwrap();
    let headers = HeaderMap::new();
    for (path, entry, prefix) in
        [("/a", 0, None), ("/a/x", 1, Some("/a")), ("/b/x", 2, None), ("/c", 3, Some("")), ("*", 3, Some(""))]
    {
        let path = Path::parse(path.as_bytes()).unwrap();
        let found = table.find(&Request::new(&Method::GET, &path, None, &headers, None)).unwrap();
        assert_eq!((found.entry, found.prefix), (entry, prefix), "{path}");
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let entry = RouteEntry {
        matches: HttpMatch::new(PathMatch::prefix("/").unwrap(), None, Vec::new(), Vec::new()),
        rule: 1,
    };
    let wrong = RouteTable::new(RouteKind::Http, vec![entry.clone()], vec![rule("rules[0]")]);
    assert_eq!(wrong, Err(TableError::NoRule { entry: 0, rule: 1, rules: 1 }));
    let many = vec![RouteEntry { rule: 0, ..entry }; super::ENTRY_LIMIT + 1];
    let wrong = RouteTable::new(RouteKind::Http, many, vec![rule("rules[0]")]);
    assert_eq!(wrong, Err(TableError::TooMany(super::ENTRY_LIMIT + 1)));
}

#[test]
fn a_consumers_routes_replace_the_producers() {
    let routes = PortRoutes::new(Some("producer"), HashMap::from([("shop".to_owned(), "shop's")]));
    assert_eq!(routes.of("bank"), Some(&"producer"));
    assert_eq!(routes.of("shop"), Some(&"shop's"));
    let routes = PortRoutes::new(None, HashMap::from([("shop".to_owned(), "shop's")]));
    assert_eq!(routes.of("bank"), None);
}

/// A thousand routes and a path of a thousand segments: a lookup asks for few of them.
#[test]
fn lookups_ask_for_few() {
    use super::paths::Paths;
    let paths: Vec<PathMatch> = (0..10_000)
        .map(|number| {
            if number % 2 == 0 {
                PathMatch::exact(&format!("/a/{number}"))
            } else {
                PathMatch::prefix(&format!("/b/{number}"))
            }
        })
        .map(Result::unwrap)
        .collect();
    let index = Paths::new(paths.iter());
    let asked = |path: &str| {
        let mut count = 0;
        let found = index.first(path, |_| {
            count += 1;
            true
        });
        (found, count)
    };
    assert_eq!(asked("/a/4242"), (Some(4242), 1));
    assert_eq!(asked("/b/4243/x/y"), (Some(4243), 1));
    assert_eq!(asked("/c"), (None, 0));
    assert_eq!(asked(&"/x".repeat(4000)), (None, 0));
}
