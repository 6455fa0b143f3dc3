use super::{Routed, parse_routes};
use crate::relay::resource::{Kind, Protocol};
use http::{HeaderMap, Method};
use mesh_api::resources as wire;
use mesh_l7::path::Path;
use mesh_l7::request::Request;
use mesh_l7::table::route::Destination;

fn path(kind: wire::path_match::Type, value: &str) -> wire::HttpMatch {
    let path = Some(wire::PathMatch { r#type: kind.into(), value: value.to_owned() });
    wire::HttpMatch { path, ..wire::HttpMatch::default() }
}

fn to(service: &str, weight: u32) -> wire::RouteBackend {
    wire::RouteBackend { service: service.to_owned(), port: 80, weight, ..wire::RouteBackend::default() }
}

fn rule(name: &str, backends: Vec<wire::RouteBackend>) -> wire::RouteRule {
    wire::RouteRule {
        route: "HTTPRoute/shop/cart".to_owned(),
        rule: name.to_owned(),
        backends,
        ..wire::RouteRule::default()
    }
}

fn table() -> wire::RouteTable {
    let entry = |rule, http| wire::RouteEntry { rule, http, server_name: String::new() };
    wire::RouteTable {
        kind: wire::RouteKind::Http.into(),
        entries: vec![entry(1, Some(path(wire::path_match::Type::Prefix, "/v2"))), entry(0, None)],
        rules: vec![rule("old", vec![to("shop/v1", 1)]), rule("new", vec![to("shop/v2", 1)])],
    }
}

fn routes(producer: wire::RouteTable) -> wire::ServiceRoutes {
    let consumer = wire::ConsumerTable { namespace: "bank".to_owned(), table: Some(table()) };
    wire::ServiceRoutes {
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        ports: vec![wire::PortRoutes {
            protocol: wire::Protocol::Tcp.into(),
            port: 80,
            producer: Some(producer),
            consumers: vec![consumer],
        }],
    }
}

fn fault(change: impl FnOnce(&mut wire::RouteTable)) -> String {
    let mut table = table();
    change(&mut table);
    parse_routes(routes(table)).unwrap_err().of(Kind::ServiceRoutes, "shop/cart").to_string()
}

#[test]
fn a_table_finds_what_was_sent() {
    let parsed = parse_routes(routes(table())).unwrap();
    let port = &parsed.ports[0];
    assert_eq!((parsed.namespace.as_str(), port.protocol, port.port), ("shop", Protocol::Tcp, 80));
    for namespace in ["shop", "bank"] {
        let Some(Routed::Requests(table)) = port.routes.of(namespace) else { panic!("{namespace}") };
        let headers = HeaderMap::new();
        for (target, expected) in [("/v2/x", "new"), ("/v20", "old"), ("/", "old")] {
            let path = Path::parse(target.as_bytes()).unwrap();
            let found = table.find(&Request::new(&Method::GET, &path, None, &headers, None)).unwrap();
            assert_eq!(&*found.rule.name, expected, "{target}");
        }
    }
}

#[test]
fn other_kinds_are_by_connection() {
    let mut tcp = table();
    tcp.kind = wire::RouteKind::Tcp.into();
    let parsed = parse_routes(routes(tcp)).unwrap();
    let Some(Routed::Connections(Some(rule))) = parsed.ports[0].routes.of("shop") else { panic!("no rule") };
    assert_eq!(&*rule.name, "new", "the first entry's");
    let mut tls = table();
    tls.kind = wire::RouteKind::Tls.into();
    tls.entries[0].server_name = "*.shop".to_owned();
    let parsed = parse_routes(routes(tls)).unwrap();
    let Some(Routed::ServerNames(names)) = parsed.ports[0].routes.of("shop") else { panic!("no names") };
    assert_eq!((names.0.find(Some("a.shop")), names.0.find(None)), (Some(1), Some(0)));
}

#[test]
fn a_backend_that_is_none_says_why() {
    let mut sent = table();
    sent.rules[0].backends[0].invalid = "no such Service".to_owned();
    let parsed = parse_routes(routes(sent)).unwrap();
    let Some(Routed::Requests(table)) = parsed.ports[0].routes.of("shop") else { panic!("no table") };
    assert_eq!(
        table.rules()[0].backends.list()[0].destination,
        Destination::Invalid("no such Service".into())
    );
}

#[test]
fn a_fault_names_its_field() {
    for (text, expected) in [
        (fault(|table| table.kind = 0), "ports[0].producer.kind is 0"),
        (fault(|table| table.entries[0].rule = 7), "ports[0].producer.entries[0].rule is 7"),
        (
            fault(|table| table.entries[0].http = Some(path(wire::path_match::Type::Regex, "("))),
            "ports[0].producer.entries[0].http.path.value is",
        ),
        (
            fault(|table| table.rules[1].backends[0].service = "cart".to_owned()),
            "ports[0].producer.rules[1].backends[0].service is cart",
        ),
        (fault(|table| table.rules[0].fail_status = 5), "ports[0].producer.rules[0].fail_status is 5"),
        (
            fault(|table| table.rules[0].filters = vec![wire::RouteFilter { filter: None }]),
            "ports[0].producer.rules[0].filters[0].filter is absent",
        ),
    ] {
        assert!(text.starts_with(&format!("ServiceRoutes shop/cart: {expected}")), "{text}");
    }
    let mut udp = routes(table());
    udp.ports[0].protocol = wire::Protocol::Udp.into();
    let fault = parse_routes(udp).unwrap_err().of(Kind::ServiceRoutes, "shop/cart").to_string();
    assert_eq!(fault, "ServiceRoutes shop/cart: ports[0].protocol is UDP: only UDPRoutes are routes of it");
}
