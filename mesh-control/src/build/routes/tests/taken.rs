//! Whatever is written: nothing panics, and what is sent is what nodes take, by their own code.

use http::{HeaderName, HeaderValue};
use mesh_api::resources::{
    HttpMatch, PathModifier, RouteFilter, RouteTable, ValueMatch, path_match, path_modifier,
    route_filter::Filter, value_match,
};
use mesh_l7::{
    filter::{cors::Names, headers::HeaderModifier, mirror::Fraction, origin::OriginMatch, rewrite},
    matching::{PathMatch, Pattern},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{SERVICES, mesh};
use crate::{build::Builder, source::of_yaml};

/// Texts that are odd somewhere, and some that are not.
const TEXTS: [&str; 32] = [
    "",
    "/",
    "/a",
    "/a/",
    "a",
    "//",
    "/../a",
    "/%2e%2e/a",
    "/a%2Fb",
    "/%zz",
    "/ü",
    "/a?b",
    "/..;x",
    "/a\\b",
    "*",
    "(",
    "a|b",
    "a)(b",
    "(?=a)",
    "x-a",
    "X-A",
    "host",
    "content-length",
    "te",
    "a b",
    "a\r\nb",
    "example.com",
    "*.example.com",
    "127.1",
    "https://*.example.com:8443",
    "http://a:0",
    "GET",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(TEXTS.to_vec()).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![6 => text().prop_map(Value::from), 1 => any::<i32>().prop_map(Value::from), 1 => Just(Value::Null)]
}

/// A map with some of these fields.
fn map(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let field = |(name, value): (&'static str, BoxedStrategy<Value>)| {
        prop_oneof![3 => value.prop_map(move |value| Some((name, value))), 1 => Just(None)].boxed()
    };
    let fields: Vec<_> = fields.into_iter().map(field).collect();
    fields
        .prop_map(|fields| {
            Value::Object(
                fields.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect(),
            )
        })
        .boxed()
}

fn list(entry: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    vec(entry, 0..3).prop_map(Value::from).boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop_oneof![9 => select(values.to_vec()).prop_map(Value::from), 1 => leaf()].boxed()
}

fn value_match_of() -> BoxedStrategy<Value> {
    map(vec![
        ("type", one_of(&["Exact", "RegularExpression"])),
        ("name", leaf().boxed()),
        ("value", leaf().boxed()),
    ])
}

fn modifier() -> BoxedStrategy<Value> {
    let header = map(vec![("name", leaf().boxed()), ("value", leaf().boxed())]);
    map(vec![("set", list(header.clone())), ("add", list(header)), ("remove", list(leaf().boxed()))])
}

fn path_modifier_of() -> BoxedStrategy<Value> {
    prop_oneof![
        leaf().prop_map(|value| json!({"type": "ReplaceFullPath", "replaceFullPath": value})),
        leaf().prop_map(|value| json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": value})),
    ]
    .boxed()
}

fn filter() -> BoxedStrategy<Value> {
    let backend = || Just(json!({"name": "next", "port": 80})).boxed();
    let names = || list(leaf().boxed());
    let of = |type_: &'static str, field: &'static str, inner: BoxedStrategy<Value>| {
        inner.prop_map(move |inner| json!({"type": type_, field: inner})).boxed()
    };
    prop_oneof![
        of("RequestHeaderModifier", "requestHeaderModifier", modifier()),
        of("ResponseHeaderModifier", "responseHeaderModifier", modifier()),
        of("URLRewrite", "urlRewrite", map(vec![("hostname", leaf().boxed()), ("path", path_modifier_of())])),
        of(
            "RequestMirror",
            "requestMirror",
            (backend(), 0..120_u32)
                .prop_map(|(backend, percent)| json!({"backendRef": backend, "percent": percent}))
                .boxed()
        ),
        of(
            "CORS",
            "cors",
            map(vec![("allowOrigins", names()), ("allowMethods", names()), ("allowHeaders", names())])
        ),
    ]
    .boxed()
}

fn rule() -> BoxedStrategy<Value> {
    let path =
        map(vec![("type", one_of(&["Exact", "PathPrefix", "RegularExpression"])), ("value", leaf().boxed())]);
    let matched = map(vec![
        ("path", path),
        ("method", one_of(&["GET", "POST"])),
        ("headers", list(value_match_of())),
        ("queryParams", list(value_match_of())),
    ]);
    let backend = Just(json!({"name": "next", "port": 80})).boxed();
    map(vec![("matches", list(matched)), ("filters", list(filter())), ("backendRefs", list(backend))])
}

fn document(rules: &Value) -> String {
    let parent = json!({"group": "", "kind": "Service", "name": "web", "port": 80});
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "shop", "generation": 3},
        "spec": {"parentRefs": [parent], "rules": rules},
    });
    format!("---\n{}\n", serde_yaml_ng::to_string(&route).unwrap())
}

fn check(table: &RouteTable) {
    for entry in &table.entries {
        check_match(entry.http.as_ref().unwrap());
    }
    let filters = table.rules.iter().flat_map(|rule| {
        rule.filters.iter().chain(rule.backends.iter().flat_map(|backend| &backend.filters))
    });
    filters.for_each(check_filter);
}

fn check_match(matched: &HttpMatch) {
    let path = matched.path.as_ref().unwrap();
    let read = match path.r#type() {
        path_match::Type::Exact => PathMatch::exact(&path.value),
        path_match::Type::Prefix => PathMatch::prefix(&path.value),
        _ => PathMatch::regex(&path.value),
    };
    read.unwrap_or_else(|error| panic!("{path:?}: {error}"));
    for header in &matched.headers {
        HeaderName::from_bytes(header.name.as_bytes()).unwrap();
        check_value(header);
    }
    matched.queries.iter().for_each(check_value);
}

fn check_value(value: &ValueMatch) {
    if value.r#type() == value_match::Type::Regex {
        Pattern::new(&value.value).unwrap();
    }
}

fn check_filter(filter: &RouteFilter) {
    let path = |path: Option<&PathModifier>| match path.and_then(|path| path.modifier.as_ref()) {
        Some(path_modifier::Modifier::Full(path)) => drop(rewrite::PathModifier::full(path).unwrap()),
        Some(path_modifier::Modifier::Prefix(path)) => drop(rewrite::PathModifier::prefix(path).unwrap()),
        None => {}
    };
    match filter.filter.as_ref().unwrap() {
        Filter::RequestHeaders(modifier) | Filter::ResponseHeaders(modifier) => {
            let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
            let pairs = |headers: &[mesh_api::resources::Header]| {
                headers
                    .iter()
                    .map(|one| (name(&one.name), HeaderValue::from_str(&one.value).unwrap()))
                    .collect()
            };
            let removed = modifier.remove.iter().map(|removed| name(removed)).collect();
            HeaderModifier::new(pairs(&modifier.set), pairs(&modifier.add), removed).unwrap();
        }
        Filter::Redirect(redirect) => path(redirect.path.as_ref()),
        Filter::Rewrite(rewritten) => {
            path(rewritten.path.as_ref());
            if !rewritten.hostname.is_empty() {
                rewrite::Hostname::parse(&rewritten.hostname).unwrap();
            }
        }
        Filter::Mirror(mirror) => {
            Fraction::new(mirror.numerator, mirror.denominator).unwrap();
        }
        Filter::Cors(cors) => {
            cors.allow_origins.iter().for_each(|origin| drop(OriginMatch::parse(origin).unwrap()));
            for names in [&cors.allow_methods, &cors.allow_headers, &cors.expose_headers] {
                Names::new(names.iter().map(String::as_str)).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_is_taken(rules in vec(rule(), 1..4)) {
        let mesh = mesh(&document(&Value::from(rules)));
        if let Some(routes) = mesh.routes("shop/web") {
            check(routes.ports[0].producer.as_ref().unwrap());
        }
    }

    #[test]
    fn nothing_panics(spec in any_value()) {
        let mut spec = spec;
        if let Some(fields) = spec.as_object_mut() {
            fields.insert("parentRefs".to_owned(), json!([{"group": "", "kind": "Service", "name": "web"}]));
        }
        for kind in ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"] {
            let route = json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": "r", "namespace": "shop"},
                "spec": spec,
            });
            let text = format!("{SERVICES}---\n{}\n", serde_yaml_ng::to_string(&route).unwrap());
            Builder::default().update(of_yaml(&text).objects);
        }
    }
}

/// Values of any shape, with fields that routes have.
fn any_value() -> impl Strategy<Value = Value> {
    let names = [
        "rules",
        "matches",
        "path",
        "method",
        "headers",
        "type",
        "value",
        "name",
        "filters",
        "backendRefs",
        "timeouts",
        "retry",
        "hostnames",
        "service",
        "port",
        "weight",
    ];
    leaf().prop_recursive(6, 60, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(select(names.to_vec()), inner, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}
