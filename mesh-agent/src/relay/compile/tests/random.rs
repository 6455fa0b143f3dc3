//! Random policies and questions over a small world, so that they meet often.

use std::net::IpAddr;

use mesh_api::resources as wire;
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{Peer, Question};
use proptest::prelude::*;
use proptest::sample::select;

/// A policy and what is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) policy: wire::DirectionPolicy,
    pub(super) questions: Vec<Question>,
}

pub(super) fn ingress() -> impl Strategy<Value = Case> {
    let peer = prop_oneof![
        (1..6u64).prop_map(Peer::Proven),
        (1..6u64).prop_map(Peer::Claimed),
        Just(Peer::Proven(0)),
        Just(Peer::Unknown),
    ];
    case(any::<bool>().boxed(), 2, peer.boxed())
}

pub(super) fn egress() -> impl Strategy<Value = Case> {
    case(Just(false).boxed(), 3, (0..6u64).prop_map(Peer::Proven).boxed())
}

fn case(
    require_mtls: BoxedStrategy<bool>,
    modes: i32,
    peer: BoxedStrategy<Peer>,
) -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), require_mtls);
    let policy = (prop::collection::vec(rule(modes), 0..10), flags).prop_map(
        |(mut rules, (isolated, isolated_audit, default_deny, require_mtls))| {
            // The order of the message: tiers, and in the access tier every Deny first.
            rules.sort_by_key(|rule| {
                let allows = rule.tier() == wire::Tier::Access && rule.action() != wire::Action::Deny;
                (rule.tier, allows)
            });
            wire::DirectionPolicy { rules, isolated, isolated_audit, default_deny, require_mtls }
        },
    );
    let question =
        (peer, address(), select(vec![6u8, 17, 0]), port()).prop_map(|(peer, address, protocol, port)| {
            Question { peer, address: Address::from(address), protocol, port: port as u16 }
        });
    (policy, prop::collection::vec(question, 24)).prop_map(|(policy, questions)| Case { policy, questions })
}

fn rule(modes: i32) -> impl Strategy<Value = wire::Rule> {
    (
        1..4i32,
        1..4i32,
        prop::bool::weighted(0.3),
        prop::collection::vec(entry(), 0..3),
        prop::collection::vec(ports(), 0..3),
        0..modes,
        prop::option::weighted(0.3, any::<bool>()),
    )
        .prop_map(|(tier, action, audit, peers, ports, mtls, requests)| wire::Rule {
            tier,
            // Only the Admin tier can pass.
            action: if tier == 1 { action } else { action.min(2) },
            audit,
            policy: "AccessPolicy/ns/p".into(),
            rule: "r".into(),
            peers,
            ports,
            mtls,
            http: Vec::from_iter((requests == Some(true)).then(wire::HttpRequests::default)),
            grpc: Vec::from_iter((requests == Some(false)).then(wire::GrpcRequests::default)),
        })
}

fn entry() -> impl Strategy<Value = wire::Peer> {
    let groups = || prop::collection::vec(1..6u64, 0..3).prop_map(|ids| Some(wire::Groups { ids }));
    let cidrs = || prop::collection::vec(cidr(), 1..3);
    let endpoint = (address(), port()).prop_map(|(address, port)| wire::Endpoint {
        address: octets(address),
        port: port.max(1),
        weight: 1,
        enrolled: false,
    });
    prop_oneof![
        3 => groups().prop_map(|groups| wire::Peer { groups, ..Default::default() }),
        2 => cidrs().prop_map(|cidrs| wire::Peer { cidrs, ..Default::default() }),
        2 => (groups(), cidrs())
            .prop_map(|(groups, cidrs)| wire::Peer { groups, cidrs, ..Default::default() }),
        1 => prop::collection::vec(endpoint, 0..3).prop_map(|endpoints| wire::Peer {
            endpoints,
            services: true,
            ..Default::default()
        }),
    ]
}

fn cidr() -> impl Strategy<Value = wire::Cidr> {
    let v4 = (address_v4(), 0..=32u32);
    let v6 = (address_v6(), 0..=128u32);
    let usual = select(vec![
        ("0.0.0.0", 0),
        ("10.0.0.0", 8),
        ("10.1.0.0", 16),
        ("10.1.2.3", 32),
        ("::", 0),
        ("fd00::", 8),
        ("fd00:1::", 32),
    ])
    .prop_map(|(text, length)| (text.parse::<IpAddr>().unwrap(), length));
    prop_oneof![usual, v4, v6]
        .prop_map(|(address, prefix_length)| wire::Cidr { address: octets(address), prefix_length })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![address_v4(), address_v6()]
}

fn address_v4() -> impl Strategy<Value = IpAddr> {
    select(vec!["10.1.2.3", "10.1.2.4", "10.1.9.9", "10.7.7.7", "192.168.0.1"])
        .prop_map(|text| text.parse().unwrap())
}

fn address_v6() -> impl Strategy<Value = IpAddr> {
    select(vec!["fd00:1::1", "fd00:1::2", "fd00:2::1", "2001:db8::1", "::1"])
        .prop_map(|text| text.parse().unwrap())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn port() -> impl Strategy<Value = u32> {
    prop_oneof![select(vec![0u32, 1, 79, 80, 81, 443, 8079, 8080, 8090, 8091, 65534, 65535]), 0..=65535u32,]
}

fn ports() -> impl Strategy<Value = wire::PortRange> {
    (1..3i32, port(), port()).prop_map(|(protocol, a, b)| wire::PortRange {
        protocol,
        first: a.min(b),
        last: a.max(b),
    })
}
