//! What does not parse is named: resource, field, value.

use mesh_api::resources as wire;
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
