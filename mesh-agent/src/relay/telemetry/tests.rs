//! From what wire reports to series and lines.

mod requests;
mod tunnelled;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{EventKind, Origin, Reason};
use mesh_ebpf::policy::{Direction, SetId, rule};

use super::{Context, LogLevel, Telemetry, record::Record};
use crate::handover::{Counts, DenialCount, EndpointEntry, FlowEvent, FlowSample, PolicySet, uid_hash};
use crate::relay::compile::NO_RULE_ALLOWS;
use crate::relay::desired::Desired;
use crate::relay::names::Names;
use crate::relay::resource::{
    AccessLog, Local, LogFormat, Protocol, Resource, Service, ServicePort, Workload,
};

const SET: SetId = SetId::new(0xabcd_ef00, false, false);

struct World {
    names: Names,
    desired: Desired,
}

impl World {
    fn new() -> Self {
        let mut names = Names::default();
        let mut desired = Desired::new();
        for (index, (name, account)) in [("teller-1", "teller"), ("vault-1", "vault")].into_iter().enumerate()
        {
            let workload = Workload {
                uid: format!("uid-{name}"),
                namespace: "bank".into(),
                name: name.into(),
                service_account: account.into(),
                addresses: vec![IpAddr::from([10, 0, 0, index as u8 + 1])],
                node: "n1".into(),
                workload: account.into(),
                enrolled: true,
                host_network: false,
                group: index as u64 + 1,
                encrypt_always: false,
                local: Some(Local::default()),
            };
            names.learn(&workload);
            desired.set(name, Resource::Workload(workload));
        }
        let row = |rule: &str| ("AccessPolicy/bank/vault".to_owned(), rule.to_owned());
        names.learn_set(&PolicySet {
            id: SET,
            rulings: Vec::new(),
            cidrs: Vec::new(),
            rules: vec![row("tellers"), row(NO_RULE_ALLOWS)],
        });
        desired.set(
            "bank/vault",
            Resource::Service(Service {
                namespace: "bank".into(),
                name: "vault".into(),
                addresses: vec!["10.96.0.7".parse().unwrap()],
                external_addresses: Vec::new(),
                node_addresses: Vec::new(),
                ports: vec![ServicePort {
                    name: "http".into(),
                    protocol: Protocol::Tcp,
                    port: 80,
                    node_port: None,
                    app_protocol: mesh_l7::table::route::AppProtocol::Unknown,
                    by_request: false,
                    endpoints: vec![EndpointEntry {
                        address: "10.0.0.2".parse().unwrap(),
                        port: 8080,
                        weight: 1,
                        enrolled: true,
                    }],
                }],
                affinity_seconds: 0,
                round_robin: false,
            }),
        );
        Self { names, desired }
    }

    fn context(&self) -> Context<'_> {
        Context { names: &self.names, desired: &self.desired, discovered: true }
    }
}

fn telemetry() -> Telemetry {
    Telemetry::new(Instant::now(), Duration::from_secs(1_000))
}

/// The source's report of a connection from the teller to the vault's Service.
fn event(kind: EventKind, reason: Reason) -> FlowEvent {
    FlowEvent {
        unix_nanoseconds: 1_795_255_200_123_456_789,
        kind: kind as u8,
        origin: Origin::Pod as u8,
        reason,
        direction: Direction::Egress,
        set: SET,
        rule: 0,
        uid: uid_hash("uid-teller-1"),
        group: 1,
        peer_uid: 0,
        peer_group: 2,
        protocol: 6,
        source: ("10.0.0.1".parse().unwrap(), 40000),
        destination: ("10.0.0.2".parse().unwrap(), 8080),
        dialled: ("10.96.0.7".parse().unwrap(), 80),
        cookie: 77,
        duration: 1_500_000_000,
        bytes_sent: 100,
        bytes_received: 2000,
        rtt_microseconds: 45,
        retransmits: 0,
    }
}

fn sample(sent: u64, received: u64) -> FlowSample {
    FlowSample {
        uid: uid_hash("uid-teller-1"),
        peer_group: 2,
        direction: Direction::Egress,
        cookie: 77,
        destination: ("10.0.0.2".parse().unwrap(), 8080),
        bytes_sent: sent,
        bytes_received: received,
        rtt_microseconds: 50,
        retransmits: 1,
    }
}

/// The sum over all series of a family.
fn total(telemetry: &Telemetry, name: &str) -> u64 {
    let text = telemetry.metrics().text().unwrap();
    text.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn line(kind: EventKind, reason: Reason, format: LogFormat, change: impl FnOnce(&mut FlowEvent)) -> String {
    let world = World::new();
    let mut event = event(kind, reason);
    change(&mut event);
    super::line::format(&Record::resolve(&event, world.context()), format)
}

#[test]
fn a_line_of_json() {
    assert_eq!(
        line(EventKind::Closed, Reason::Finished, LogFormat::Json, |_| ()),
        r#"{"time":"2026-11-21T10:00:00.123456Z","verdict":"allowed","reporter":"source","protocol":"TCP","source":{"address":"10.0.0.1:40000","pod":"teller-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/teller"},"destination":{"address":"10.0.0.2:8080","pod":"vault-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/vault"},"proof":"kernel","policy":"AccessPolicy/bank/vault","rule":"tellers","dialled":"10.96.0.7:80","service":"bank/vault:80","ended":"Finished","bytes_sent":100,"bytes_received":2000,"duration_seconds":1.5,"rtt_microseconds":45,"retransmits":0}"#
    );
}

#[test]
fn a_line_of_text() {
    let denied = line(EventKind::Denied, Reason::NoRuleAllows, LogFormat::Text, |event| {
        event.direction = Direction::Ingress;
        event.origin = Origin::Unproven as u8;
        event.rule = rule::ISOLATED;
        event.dialled = event.destination;
        (event.uid, event.group) = (uid_hash("uid-vault-1"), 2);
        event.peer_group = 1;
    });
    assert_eq!(
        denied,
        r#"2026-11-21T10:00:00.123456Z denied TCP bank/teller-1(10.0.0.1:40000) -> bank/vault-1(10.0.0.2:8080) reporter=destination proof=unproven destination_identity=spiffe://cluster.local/ns/bank/sa/vault policy=AccessPolicy/bank/vault rule="(no rule allows)" dialled=10.0.0.2:8080 reason=NoRuleAllows"#
    );
}

#[test]
fn what_leaves_in_the_clear_says_so_and_claims_no_name() {
    let mut world = World::new();
    let enrolled = world.desired.workloads_at([10, 0, 0, 2].into()).next().unwrap().clone();
    let cleared = |world: &World| {
        let record = Record::resolve(&event(EventKind::Closed, Reason::Finished), world.context());
        super::line::format(&record, LogFormat::Json)
    };
    for (workload, plaintext, named) in [
        (Workload { enrolled: false, ..enrolled.clone() }, true, false),
        (Workload { local: None, ..enrolled.clone() }, true, true),
        (enrolled, false, true),
    ] {
        world.names.learn(&workload);
        world.desired.set("vault-1", Resource::Workload(workload));
        let line = cleared(&world);
        assert_eq!(line.contains(r#""transport":"plaintext""#), plaintext, "{line}");
        assert_eq!(line.contains("/sa/vault"), named, "{line}");
        assert!(line.contains(r#""pod":"vault-1""#) && line.contains("rtt_microseconds"), "{line}");
    }
}

#[test]
fn each_byte_counts_once_while_open_and_at_the_end() {
    let world = World::new();
    let mut telemetry = telemetry();
    telemetry.events(&[event(EventKind::Opened, Reason::None)], world.context());
    telemetry.samples(&[sample(40, 500)], world.context());
    telemetry.samples(&[sample(90, 1500)], world.context());
    assert_eq!(total(&telemetry, "mesh_tcp_sent_bytes_total"), 90);
    telemetry.events(&[event(EventKind::Closed, Reason::Finished)], world.context());
    assert_eq!(total(&telemetry, "mesh_tcp_sent_bytes_total"), 100);
    assert_eq!(total(&telemetry, "mesh_tcp_received_bytes_total"), 2000);
    assert_eq!(total(&telemetry, "mesh_tcp_connections_opened_total"), 1);
    assert_eq!(total(&telemetry, "mesh_tcp_connections_closed_total"), 1);
}

#[test]
fn what_an_earlier_relay_may_have_counted_is_not_counted_again() {
    let world = World::new();
    let mut telemetry = telemetry();
    telemetry.samples(&[sample(1_000, 1_000)], world.context());
    telemetry.samples(&[sample(1_500, 1_000)], world.context());
    assert_eq!(total(&telemetry, "mesh_tcp_sent_bytes_total"), 500);
}

#[test]
fn a_refused_connection_failed_and_was_never_open() {
    let world = World::new();
    let mut telemetry = telemetry();
    let mut refused = event(EventKind::Closed, Reason::Refused);
    (refused.bytes_sent, refused.bytes_received) = (0, 0);
    telemetry.events(&[refused], world.context());
    assert_eq!(total(&telemetry, "mesh_tcp_connections_failed_total"), 1);
    assert_eq!(total(&telemetry, "mesh_tcp_connections_closed_total"), 0);
    let text = telemetry.metrics().text().unwrap();
    assert!(text.contains(r#"destination_service="bank/vault",proof="kernel",how="Refused"} 1"#), "{text}");
}

fn denial(count: u64, audited: bool) -> DenialCount {
    DenialCount {
        uid: uid_hash("uid-vault-1"),
        set: SET,
        rule: rule::ISOLATED,
        reason: Reason::NoRuleAllows,
        direction: Direction::Ingress,
        audited,
        protocol: 6,
        peer_group: 1,
        count,
    }
}

#[test]
fn denials_are_exact_and_survive_rows_made_anew() {
    let world = World::new();
    let mut telemetry = telemetry();
    for (count, expected) in [(5, 5), (5, 5), (8, 8), (2, 10)] {
        let counts = Counts { denials: vec![denial(count, false), denial(1, true)], ..Counts::default() };
        telemetry.counts(counts, Instant::now(), world.context());
        assert_eq!(total(&telemetry, "mesh_denied_total"), expected);
    }
    assert_eq!(total(&telemetry, "mesh_audited_total"), 1);
    let text = telemetry.metrics().text().unwrap();
    assert!(
        text.contains(
            r#"policy="AccessPolicy/bank/vault",rule="(no rule allows)",reason="NoRuleAllows"} 10"#
        ),
        "{text}"
    );
}

#[test]
fn denials_wait_for_names() {
    let world = World::new();
    let mut telemetry = telemetry();
    let context = Context { discovered: false, ..world.context() };
    let counts = Counts { denials: vec![denial(3, false)], ..Counts::default() };
    telemetry.counts(counts.clone(), Instant::now(), context);
    assert_eq!(total(&telemetry, "mesh_denied_total"), 0);
    telemetry.counts(counts, Instant::now(), world.context());
    assert_eq!(total(&telemetry, "mesh_denied_total"), 3);
}

#[test]
fn a_family_that_is_full_goes_on_in_one_series() {
    use super::bounded::Bounded;
    use super::labels::FlowLabels;
    use prometheus_client::metrics::{counter::Counter, family::Family};
    let world = World::new();
    let overflowed = Counter::default();
    let series = Family::<FlowLabels, Counter>::default();
    let family = Bounded::new(series.clone(), 2, overflowed.clone());
    for port in 0..10 {
        let mut record = Record::resolve(&event(EventKind::Opened, Reason::None), world.context());
        record.source.workload = format!("w{port}");
        family.update(&FlowLabels::of(&record), |counter| {
            counter.inc();
        });
    }
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("family", "", series);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("family_total")).count(), 3);
    assert!(text.contains(r#"source_workload="overflow""#), "{text}");
    assert_eq!(overflowed.get(), 8);
}

#[test]
fn the_level_chooses_the_lines() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let mut telemetry = telemetry();
    telemetry.log_to(super::LogPlace::File(path.clone())).unwrap();
    telemetry.configure(AccessLog { format: LogFormat::Text, level: LogLevel::Denied });
    let events = [
        event(EventKind::Opened, Reason::None),
        event(EventKind::Closed, Reason::Finished),
        event(EventKind::Denied, Reason::PolicyDenied),
        event(EventKind::Audited, Reason::PolicyDenied),
        event(EventKind::Closed, Reason::PolicyChanged),
    ];
    telemetry.events(&events, world.context());
    telemetry.override_log_level(Some(LogLevel::All));
    telemetry.events(&events, world.context());
    telemetry.override_log_level(Some(LogLevel::Off));
    telemetry.events(&events, world.context());
    telemetry.flush_log();
    let text = std::fs::read_to_string(path).unwrap();
    let verdicts: Vec<&str> = text.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(verdicts, ["denied", "audited", "allowed", "allowed", "denied", "audited", "allowed"]);
}
