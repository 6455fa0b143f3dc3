//! What does not parse is named: resource, field, value.

use mesh_api::resources as wire;
use mesh_l7::access::rule::{GrpcRule, HttpRule, Requests};
use mesh_l7::host::HostMatch;
use mesh_l7::matching::{HeaderMatch, PathMatch, Pattern, ValueMatch};
use proptest::prelude::*;
use prost::Message;

use super::{Cidr, Entry, Kind, Resource, parse, parse_direction};

fn workload() -> wire::Workload {
    wire::Workload {
        uid: "u1".into(),
        namespace: "bank".into(),
        name: "teller-1".into(),
        service_account: "teller".into(),
        addresses: vec![vec![10, 0, 0, 1]],
        group: 7,
        ..Default::default()
    }
}

#[test]
fn a_workload_without_a_display_name_is_known_by_its_pod() {
    let Ok(Resource::Workload(parsed)) = parse(Kind::Workload, "n", &workload().encode_to_vec()) else {
        panic!("not a workload");
    };
    assert_eq!(parsed.workload, "teller-1");
    assert_eq!(parsed.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn an_error_names_resource_field_and_value() {
    let bad = wire::Workload { addresses: vec![vec![10, 0, 0, 1], vec![1, 2, 3]], ..workload() };
    let error = parse(Kind::Workload, "bank/teller-1/u1", &bad.encode_to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Workload bank/teller-1/u1: addresses[1].address is 3 bytes: an address has 4 or 16 bytes"
    );
    let bad = wire::PodPolicy {
        pod_uid: "u1".into(),
        ingress: Some(wire::DirectionPolicy {
            rules: vec![wire::Rule { tier: 2, action: 3, ..Default::default() }],
            ..Default::default()
        }),
        egress: None,
    };
    let error = parse(Kind::PodPolicy, "bank/teller-1/u1", &bad.encode_to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "PodPolicy bank/teller-1/u1: ingress.rules[0].action is Pass: only the Admin tier can pass"
    );
}

#[test]
fn an_entry_that_names_nothing_is_not_anyone() {
    let rule = wire::Rule { tier: 2, action: 1, peers: vec![wire::Peer::default()], ..Default::default() };
    let policy = wire::DirectionPolicy { rules: vec![rule], ..Default::default() };
    assert!(parse_direction(policy.clone()).is_err());
    let mut policy = policy;
    policy.rules[0].peers[0].services = true;
    let parsed = parse_direction(policy).unwrap();
    assert_eq!(parsed.rules[0].peers, [Entry::Endpoints(Vec::new())]);
}

#[test]
fn ranges_are_read_in_their_own_family() {
    let cidr = |text: &str, length| Cidr::new(text.parse().unwrap(), length).unwrap();
    assert_eq!(cidr("10.1.2.3", 8).to_string(), "10.0.0.0/8");
    assert_eq!(cidr("::ffff:10.1.2.3", 104), cidr("10.0.0.0", 8));
    assert!(cidr("::", 0).covers(&cidr("10.0.0.0", 8)));
    assert!(!cidr("::", 0).contains(&cidr("10.0.0.0", 8)));
    assert!(cidr("0.0.0.0", 0).contains(&cidr("10.0.0.0", 8)));
    assert_eq!(Cidr::new("10.0.0.0".parse().unwrap(), 33), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_resource_or_an_error(body in prop::collection::vec(any::<u8>(), 0..256)) {
        for kind in Kind::ALL {
            let _ = parse(kind, "name", &body);
        }
    }
}

fn about(http: Vec<wire::HttpRequests>, grpc: Vec<wire::GrpcRequests>) -> Result<Requests, String> {
    let rule = wire::Rule { tier: 2, action: 1, http, grpc, ..Default::default() };
    let direction = wire::DirectionPolicy { rules: vec![rule], ..Default::default() };
    let policy = wire::PodPolicy { pod_uid: "u1".into(), ingress: Some(direction), egress: None };
    match parse(Kind::PodPolicy, "bank/vault/u1", &policy.encode_to_vec()) {
        Ok(Resource::PodPolicy(parsed)) => Ok(parsed.ingress.rules[0].requests.clone()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn path(r#type: wire::path_match::Type, value: &str) -> wire::PathMatch {
    wire::PathMatch { r#type: r#type as i32, value: value.into() }
}

fn header(r#type: wire::value_match::Type, value: &str) -> wire::ValueMatch {
    wire::ValueMatch { r#type: r#type as i32, name: "x-tier".into(), value: value.into() }
}

#[test]
fn a_rule_says_which_requests_it_is_about() {
    use wire::path_match::Type as Path;
    use wire::value_match::Type as Value;
    assert_eq!(about(Vec::new(), Vec::new()), Ok(Requests::All));
    let message = wire::HttpRequests {
        methods: vec!["GET".into()],
        paths: vec![
            path(Path::Exact, "/healthz"),
            path(Path::Prefix, "/api"),
            path(Path::Regex, "/v[0-9]+/.*"),
        ],
        headers: vec![
            header(Value::Exact, "gold"),
            header(Value::Prefix, "go"),
            header(Value::Regex, "g.*"),
            header(Value::Present, ""),
        ],
        hosts: vec!["vault.bank".into(), "*.bank".into()],
    };
    let tier = |value| HeaderMatch { name: "x-tier".parse().unwrap(), value };
    let rule = HttpRule {
        methods: vec![http::Method::GET],
        paths: vec![
            PathMatch::exact("/healthz").unwrap(),
            PathMatch::prefix("/api").unwrap(),
            PathMatch::regex("/v[0-9]+/.*").unwrap(),
        ],
        headers: vec![
            tier(ValueMatch::Exact("gold".into())),
            tier(ValueMatch::Prefix("go".into())),
            tier(ValueMatch::Regex(Pattern::new("g.*").unwrap())),
            tier(ValueMatch::Present),
        ],
        hosts: vec![HostMatch::parse("vault.bank").unwrap(), HostMatch::parse("*.bank").unwrap()],
    };
    let call = wire::GrpcRequests { service: "bank.Vault".into(), method: String::new() };
    let expected = Requests::Some {
        http: vec![rule],
        grpc: vec![GrpcRule { service: Some("bank.Vault".into()), method: None }],
    };
    assert_eq!(about(vec![message], vec![call]), Ok(expected));
}

#[test]
fn requests_that_do_not_parse_are_named() {
    use wire::path_match::Type as Path;
    use wire::value_match::Type as Value;
    let nothing = wire::HttpRequests::default;
    for (message, field) in [
        (wire::HttpRequests { methods: vec!["G T".into()], ..nothing() }, "methods[0].method is G T"),
        (
            wire::HttpRequests { paths: vec![path(Path::Exact, "/..;/a")], ..nothing() },
            "paths[0].value is /..;/a",
        ),
        (wire::HttpRequests { paths: vec![path(Path::Regex, "(")], ..nothing() }, "paths[0].value is ("),
        (wire::HttpRequests { paths: vec![path(Path::Unspecified, "/")], ..nothing() }, "paths[0].type is 0"),
        (
            wire::HttpRequests { headers: vec![header(Value::Regex, "(")], ..nothing() },
            "headers[0].value is (",
        ),
        (
            wire::HttpRequests { headers: vec![header(Value::Unspecified, "")], ..nothing() },
            "headers[0].type is 0",
        ),
        (wire::HttpRequests { hosts: vec!["a:80".into()], ..nothing() }, "hosts[0].host is a:80"),
    ] {
        let error = about(vec![message], Vec::new()).unwrap_err();
        let expected = format!("PodPolicy bank/vault/u1: ingress.rules[0].http[0].{field}: ");
        assert!(error.starts_with(&expected), "{error}");
    }
}
