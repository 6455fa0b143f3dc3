use super::{Routes, Services, protocol};
use crate::relay::engine::decide::{Asked, Backend, Decide, Decision, Forward, Protocol};
use crate::relay::engine::record::Ending;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use mesh_l7::filter::Filter;
use mesh_l7::filter::headers::HeaderModifier;
use mesh_l7::filter::mirror::{Fraction, Mirror};
use mesh_l7::filter::redirect::{Redirect, RedirectStatus};
use mesh_l7::filter::rewrite::{Hostname, PathModifier, Rewrite};
use mesh_l7::host::Host;
use mesh_l7::matching::{HttpMatch, PathMatch};
use mesh_l7::path::Path;
use mesh_l7::table::route::{AppProtocol, Backend as Reference, Backends, Destination, RouteRule};
use mesh_l7::table::{RouteEntry, RouteKind, RouteTable};
use std::sync::Arc;

struct Known(Option<Arc<RouteTable>>);

impl Services for Known {
    fn routes(&self) -> Option<Arc<RouteTable>> {
        self.0.clone()
    }

    fn backend(&self, destination: &Destination) -> Option<Arc<Backend>> {
        let Destination::Service { service, port, .. } = destination else { return None };
        let known = **service != *"shop/unknown";
        known.then(|| Arc::new(Backend { name: format!("{service}:{port}"), ..Backend::default() }))
    }
}

fn service(name: &str) -> Destination {
    Destination::Service { service: name.into(), port: 80, protocol: AppProtocol::Unknown }
}

fn to(destination: Destination, weight: u32) -> Reference {
    Reference { destination, weight, filters: Vec::new() }
}

fn rule(filters: Vec<Filter>, backends: Vec<Reference>) -> RouteRule {
    RouteRule {
        route: "HTTPRoute/shop/cart".into(),
        name: "rules[0]".into(),
        filters,
        backends: Backends::new(backends),
        timeouts: mesh_l7::timeouts::Timeouts::default(),
        retry: None,
        fail: None,
    }
}

fn routes(kind: RouteKind, rules: Vec<(&str, RouteRule)>) -> Routes<Known> {
    let entries = rules.iter().enumerate().map(|(rule, (path, _))| {
        let path = PathMatch::prefix(path).unwrap();
        RouteEntry { matches: HttpMatch::new(path, None, Vec::new(), Vec::new()), rule }
    });
    let table =
        RouteTable::new(kind, entries.collect(), rules.iter().map(|(_, rule)| rule.clone()).collect());
    Routes::new(
        Known(Some(Arc::new(table.unwrap()))),
        service("shop/cart"),
        Host::parse("10.0.0.1").unwrap(),
        80,
    )
}

fn ask(routes: &Routes<Known>, target: &str) -> (Request<()>, Decision) {
    let mut head = Request::get(target).header("host", "cart").body(()).unwrap();
    let (path, host) = (Path::parse(head.uri().path().as_bytes()).unwrap(), Host::parse("cart").unwrap());
    let decision = routes.decide(&mut Asked { head: &mut head, path: &path, host: Some(&host) }, &|| 7);
    (head, decision)
}

fn forwarded(decision: Decision) -> Forward {
    match decision {
        Decision::Forward(forward) => *forward,
        Decision::Respond(..) => panic!("it was answered"),
        Decision::Refuse(_, refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn a_rule_makes_of_a_request_what_its_filters_say() {
    let path = Some(PathModifier::prefix("/new").unwrap());
    let rewrite = Filter::Rewrite(Rewrite { hostname: Some(Hostname::parse("other").unwrap()), path });
    let mirror = Filter::Mirror(Mirror { destination: service("shop/shadow"), fraction: Fraction::ALL });
    let routes =
        routes(RouteKind::Http, vec![("/old", rule(vec![rewrite, mirror], vec![to(service("shop/v2"), 1)]))]);
    let (head, decision) = ask(&routes, "/old/a?b=c");
    let forward = forwarded(decision);
    assert_eq!(head.uri(), "/new/a?b=c");
    assert_eq!(head.headers()["host"], "other");
    assert_eq!(forward.backend.name, "shop/v2:80");
    assert_eq!(forward.mirrors[0].backend.name, "shop/shadow:80");
    assert_eq!(forward.labels.route.as_deref(), Some("HTTPRoute/shop/cart"));
    assert_eq!(forward.labels.backend.as_deref(), Some("shop/v2:80"));
    assert_eq!(head.headers()["x-request-id"].len(), 36);
}

#[test]
fn answers_are_changed_where_a_filter_may() {
    let plain = routes(RouteKind::Http, vec![("/", rule(Vec::new(), vec![to(service("shop/v1"), 1)]))]);
    assert!(forwarded(ask(&plain, "/").1).answer.is_none());
    let set = |name: &'static str, value: &'static str| {
        let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
        Filter::ResponseHeaders(HeaderModifier::new(vec![field], Vec::new(), Vec::new()).unwrap())
    };
    let mut backend = to(service("shop/v1"), 1);
    backend.filters = vec![set("x-a", "backend"), set("x-b", "backend")];
    let routes = routes(RouteKind::Http, vec![("/", rule(vec![set("x-a", "rule")], vec![backend]))]);
    let mut answer = Response::new(());
    forwarded(ask(&routes, "/").1).answer.unwrap()(&mut answer);
    assert_eq!(answer.headers()["x-a"], HeaderValue::from_static("rule"));
    assert_eq!(answer.headers()["x-b"], "backend");
}

#[test]
fn a_redirect_needs_no_backend() {
    let status = RedirectStatus::new(301).unwrap();
    let redirect = Redirect {
        scheme: None,
        hostname: Some(Hostname::parse("example.com").unwrap()),
        path: None,
        port: None,
        status,
    };
    let routes = routes(RouteKind::Http, vec![("/", rule(vec![Filter::Redirect(redirect)], Vec::new()))]);
    let Decision::Respond(labels, answer) = ask(&routes, "/a").1 else { panic!("it was not answered") };
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (301, &HeaderValue::from_static("http://example.com/a"))
    );
    assert_eq!(labels.rule.as_deref(), Some("rules[0]"));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let mut refused = rule(Vec::new(), vec![to(service("shop/v1"), 1)]);
    refused.fail = Some(StatusCode::INTERNAL_SERVER_ERROR);
    for (rules, status, ending) in [
        (vec![("/other", rule(Vec::new(), vec![to(service("shop/v1"), 1)]))], 404, Ending::NoRoute),
        (vec![("/", refused)], 500, Ending::BadRoute),
        (vec![("/", rule(Vec::new(), Vec::new()))], 500, Ending::BadRoute),
        (vec![("/", rule(Vec::new(), vec![to(service("shop/v1"), 0)]))], 500, Ending::BadRoute),
        (
            vec![("/", rule(Vec::new(), vec![to(Destination::Invalid("no such Service".into()), 1)]))],
            500,
            Ending::BadRoute,
        ),
        (vec![("/", rule(Vec::new(), vec![to(service("shop/unknown"), 1)]))], 500, Ending::BadRoute),
    ] {
        let Decision::Refuse(_, refusal) = ask(&routes(RouteKind::Http, rules), "/a").1 else {
            panic!("{status}")
        };
        assert_eq!((refusal.status.as_u16(), refusal.ending), (status, ending));
    }
}

#[test]
fn what_a_port_says_is_spoken() {
    for (said, expected) in [
        (AppProtocol::Unknown, Protocol::AsReceived),
        (AppProtocol::Http1, Protocol::Http1),
        (AppProtocol::WebSocket, Protocol::Http1),
        (AppProtocol::Http2, Protocol::Http2),
        (AppProtocol::Grpc, Protocol::Http2),
    ] {
        assert_eq!(protocol(said), expected, "{said:?}");
    }
}

#[test]
fn a_service_without_routes_is_what_was_dialled() {
    let routes = Routes::new(Known(None), service("shop/cart"), Host::parse("10.0.0.1").unwrap(), 80);
    let forward = forwarded(ask(&routes, "/a").1);
    assert_eq!((forward.backend.name.as_str(), forward.labels.route), ("shop/cart:80", None));
}
