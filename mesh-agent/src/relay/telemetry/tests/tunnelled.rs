//! From what the workers report to series, lines and what `explain` shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mesh_api::SpiffeId;
use mesh_ebpf::abi::{EventKind, Reason};
use mesh_ebpf::policy::rule;

use super::{SET, World, event, telemetry, total};
use crate::relay::identity::Standing;
use crate::relay::resource::{AccessLog, LogFormat, LogLevel};
use crate::relay::telemetry::record::Record;
use crate::relay::telemetry::{Failure, Happened, NodeTrust, Now, Telemetry};
use crate::relay::tunnel::counts::Counts;
use crate::relay::tunnel::report::{PeerIdentity, Report, Reporter, Side, Stage};

fn id(account: &str) -> Arc<SpiffeId> {
    Arc::new(SpiffeId::new("cluster.local", "bank", account).unwrap())
}

fn at(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// The end of a connection from the teller, as its node or the vault's sees it.
fn report(side: Side) -> Report {
    let (pod, own, peer) = match side {
        Side::Source => ("uid-teller-1", "teller", "vault"),
        Side::Destination => ("uid-vault-1", "vault", "teller"),
    };
    Report {
        id: 1,
        at: UNIX_EPOCH + Duration::from_nanos(1_795_255_200_123_456_789),
        side,
        stage: Stage::Closed,
        pod_uid: pod.into(),
        source: at("10.0.0.1:40000"),
        destination: at("10.0.0.2:8080"),
        dialled: at("10.96.0.7:80").filter(|_| side == Side::Source),
        own: Some(id(own)),
        peer: PeerIdentity::Proven(id(peer)),
        set: SET,
        rule: 0,
        audit_rule: None,
        reason: Reason::Finished,
        detail: String::new(),
        sent: 100,
        received: 2000,
        duration: Duration::from_millis(1500),
    }
}

fn refused(side: Side, reason: Reason) -> Report {
    Report { stage: Stage::Refused, reason, sent: 0, received: 0, ..report(side) }
}

fn connection(failure: &Failure) -> &Record {
    match &failure.latest {
        Happened::Connection(record) => record,
        Happened::Request(resolved) => panic!("a request: {resolved:?}"),
    }
}

fn line(report: &Report, format: LogFormat) -> String {
    super::super::line::format(&Record::tunnelled(report, World::new().context()), format)
}

fn lines(level: LogLevel, tell: impl FnOnce(&mut Telemetry, &World)) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (world, mut telemetry) = (World::new(), telemetry());
    telemetry.log_to(super::super::LogPlace::File(path.clone())).unwrap();
    telemetry.configure(AccessLog { format: LogFormat::Text, level });
    tell(&mut telemetry, &world);
    telemetry.flush_log();
    std::fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn both_ends_log_both_names() {
    assert_eq!(
        line(&report(Side::Source), LogFormat::Json),
        r#"{"time":"2026-11-21T10:00:00.123456Z","verdict":"allowed","reporter":"source","protocol":"TCP","source":{"address":"10.0.0.1:40000","pod":"teller-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/teller"},"destination":{"address":"10.0.0.2:8080","pod":"vault-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/vault"},"proof":"mtls","transport":"tunnel","policy":"AccessPolicy/bank/vault","rule":"tellers","dialled":"10.96.0.7:80","service":"bank/vault:80","ended":"Finished","bytes_sent":100,"bytes_received":2000,"duration_seconds":1.5}"#
    );
    assert_eq!(
        line(&report(Side::Destination), LogFormat::Json),
        r#"{"time":"2026-11-21T10:00:00.123456Z","verdict":"allowed","reporter":"destination","protocol":"TCP","source":{"address":"10.0.0.1:40000","pod":"teller-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/teller"},"destination":{"address":"10.0.0.2:8080","pod":"vault-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/vault"},"proof":"mtls","transport":"tunnel","policy":"AccessPolicy/bank/vault","rule":"tellers","ended":"Finished","bytes_sent":2000,"bytes_received":100,"duration_seconds":1.5}"#
    );
}

#[test]
fn a_failure_says_what_was_expected_and_what_to_check() {
    let failed = Report {
        peer: PeerIdentity::Expected(id("vault")),
        detail: "the peer proved spiffe://cluster.local/ns/bank/sa/clerk".into(),
        ..refused(Side::Source, Reason::NameMismatch)
    };
    let text = line(&failed, LogFormat::Text);
    for part in [
        " failed TCP bank/teller-1(10.0.0.1:40000) -> bank/vault-1(10.0.0.2:8080) ",
        " proof=kernel ",
        " transport=tunnel ",
        " reason=NameMismatch ",
        " expected_identity=spiffe://cluster.local/ns/bank/sa/vault ",
        r#" detail="the peer proved spiffe://cluster.local/ns/bank/sa/clerk" "#,
        r#" check="whether the address"#,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("destination_identity"), "nothing was proven: {text}");
}

#[test]
fn who_is_at_an_address_is_named_only_if_it_may_have_that_name() {
    let stranger = Report { peer: PeerIdentity::Proven(id("clerk")), ..report(Side::Destination) };
    let record = Record::tunnelled(&stranger, World::new().context());
    assert_eq!((record.source.pod.as_str(), record.source.workload.as_str()), ("", ""));
    assert_eq!(record.source.namespace, "bank");
    assert_eq!(record.source.identity, "spiffe://cluster.local/ns/bank/sa/clerk");
    let unknown = Report {
        source: None,
        destination: None,
        peer: PeerIdentity::Unknown,
        ..refused(Side::Destination, Reason::NoClientCertificate)
    };
    let record = Record::tunnelled(&unknown, World::new().context());
    assert_eq!(record.source, super::super::record::Party::default());
    assert_eq!(record.proof.name(), "unproven");
}

#[test]
fn the_same_series_count_what_goes_through_the_tunnel() {
    let (world, mut telemetry) = (World::new(), telemetry());
    let mut tell = |report: &Report| telemetry.tunnelled(report, world.context());
    tell(&Report { stage: Stage::Opened, reason: Reason::None, ..report(Side::Source) });
    tell(&report(Side::Source));
    tell(&refused(Side::Source, Reason::TunnelTimedOut));
    tell(&refused(Side::Destination, Reason::NoRuleAllows));
    for (name, expected) in [
        ("mesh_tcp_connections_opened_total", 1),
        ("mesh_tcp_connections_closed_total", 1),
        ("mesh_tcp_connections_failed_total", 1),
        ("mesh_tcp_sent_bytes_total", 100),
        ("mesh_tcp_received_bytes_total", 2000),
        ("mesh_denied_total", 1),
        ("mesh_audited_total", 0),
    ] {
        assert_eq!(total(&telemetry, name), expected, "{name}");
    }
    let text = telemetry.metrics().text().unwrap();
    for part in
        [r#"proof="mtls",how="Finished"} 1"#, r#"how="TunnelTimedOut"} 1"#, r#"reason="NoRuleAllows"} 1"#]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn only_a_policy_denies() {
    let (world, mut telemetry) = (World::new(), telemetry());
    for reason in [Reason::Cancelled, Reason::EndpointGone, Reason::RelayExhausted] {
        telemetry.tunnelled(&refused(Side::Source, reason), world.context());
        telemetry.tunnelled(&refused(Side::Destination, reason), world.context());
    }
    assert_eq!(total(&telemetry, "mesh_denied_total"), 0);
    assert_eq!(total(&telemetry, "mesh_tcp_connections_failed_total"), 6);
    let trouble = telemetry.failures().latest().map(|failure| connection(failure).reason);
    assert!(!trouble.into_iter().any(|reason| reason == Reason::Cancelled), "nobody was refused anything");
    for reason in [
        Reason::PolicyDenied,
        Reason::NoRuleAllows,
        Reason::DefaultDenied,
        Reason::MtlsRequired,
        Reason::PolicyMissing,
        Reason::PolicyChanged,
    ] {
        telemetry.tunnelled(&refused(Side::Destination, reason), world.context());
    }
    assert_eq!(total(&telemetry, "mesh_denied_total"), 6);
    let gone = line(&refused(Side::Source, Reason::EndpointGone), LogFormat::Text);
    assert!(gone.contains(" failed TCP ") && gone.contains("check=\"whether the pod"), "{gone}");
}

#[test]
fn what_an_audit_policy_would_refuse_is_told_once() {
    let audited = Report { audit_rule: Some(rule::ISOLATED), ..report(Side::Destination) };
    let opened = Report { stage: Stage::Opened, reason: Reason::None, ..audited.clone() };
    let told = lines(LogLevel::Denied, |telemetry, world| {
        telemetry.tunnelled(&opened, world.context());
        telemetry.tunnelled(&audited, world.context());
        assert_eq!(total(telemetry, "mesh_audited_total"), 1);
        assert_eq!(telemetry.failures().latest().count(), 0);
    });
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(" audited TCP ") && told[0].contains("reason=NoRuleAllows"), "{told:?}");
    assert!(told[0].contains(r#"rule="(no rule allows)""#), "{told:?}");
}

#[test]
fn failures_are_logged_where_connections_are_not() {
    let tell = |telemetry: &mut Telemetry, world: &World| {
        telemetry.tunnelled(&report(Side::Source), world.context());
        telemetry.tunnelled(&refused(Side::Source, Reason::NoCertificate), world.context());
        telemetry.tunnelled(&Report { reason: Reason::PeerFailed, ..report(Side::Source) }, world.context());
    };
    assert_eq!(lines(LogLevel::Denied, tell).len(), 2);
    assert_eq!(lines(LogLevel::All, tell).len(), 3);
    assert_eq!(lines(LogLevel::Off, tell).len(), 0);
}

#[test]
fn what_went_wrong_last_is_remembered_and_repeats_do_not_push_out_others() {
    let (world, mut telemetry) = (World::new(), telemetry());
    telemetry.events(&[event(EventKind::Denied, Reason::PolicyDenied)], world.context());
    telemetry.events(&[event(EventKind::Closed, Reason::Reset)], world.context());
    for port in 0..1000 {
        let source = Some(SocketAddr::new([10, 0, 0, 1].into(), 20_000 + port));
        let report = Report { source, ..refused(Side::Source, Reason::TunnelRefused) };
        telemetry.tunnelled(&report, world.context());
    }
    let latest: Vec<_> = telemetry.failures().latest().collect();
    let told: Vec<_> = latest.iter().map(|failure| (connection(failure).reason, failure.count)).collect();
    assert_eq!(told, [(Reason::TunnelRefused, 1000), (Reason::PolicyDenied, 1)]);
    assert_eq!(connection(latest[0]).source.address.unwrap().1, 20_999, "the latest stands for all");
    assert!(latest[0].concerns("bank/teller-1") && latest[0].concerns("bank/vault-1"));
    assert!(!latest[0].concerns("bank/nobody") && !latest[0].concerns("teller-1"));
    for host in 0..=255 {
        let destination = Some(SocketAddr::new([10, 1, 0, host].into(), 80));
        let report = Report { destination, ..refused(Side::Source, Reason::TunnelTimedOut) };
        telemetry.tunnelled(&report, world.context());
    }
    assert_eq!(telemetry.failures().latest().count(), 256);
}

#[test]
fn the_tunnel_and_certificates_have_metrics_of_their_own() {
    use std::sync::atomic::Ordering::Relaxed;
    let telemetry = telemetry();
    let counts = Arc::new(Counts::default());
    let (reporter, _told) = Reporter::new(4, Arc::clone(&counts));
    let _open = reporter.begin(Side::Source, &Arc::from("uid"), None);
    counts.bytes_received.store(9, Relaxed);
    reporter.begin(Side::Destination, &Arc::from("uid"), None).end(Reason::NoClientCertificate, "");
    counts.pool_hits.store(5, Relaxed);
    let now = UNIX_EPOCH + Duration::from_secs(1_000);
    let standing = |account: &str, attempts: u32| Standing {
        id: SpiffeId::clone(&id(account)),
        pods: ["uid".to_owned()].into(),
        certificate: None,
        due: now,
        attempts,
        trouble: if attempts > 0 { "away".into() } else { String::new() },
    };
    telemetry.metrics().now(&Now {
        wire_connected: true,
        counts_age: None,
        discovery_connected: false,
        discovery_age: None,
        snapshot_age: Some(Duration::from_secs(90)),
        resources: &[],
        tunnel: &counts,
        identities: &[standing("teller", 0), standing("vault", 3)],
        trust: NodeTrust { certificate_ends: Some(now - Duration::from_secs(5)), roots: 2, revoked: 1 },
        time: now,
    });
    let text = telemetry.metrics().text().unwrap();
    for line in [
        r#"mesh_tunnel_connections_open{direction="outbound"} 1"#,
        r#"mesh_tunnel_connections_open{direction="inbound"} 0"#,
        r#"mesh_tunnel_connections_ended_total{reason="NoClientCertificate"} 1"#,
        r#"mesh_tunnel_pool_lookups_total{result="hit"} 5"#,
        r#"mesh_tunnel_carried_bytes_total{direction="received"} 9"#,
        r#"mesh_identities{state="awaited"} 1"#,
        r#"mesh_identities{state="failed"} 1"#,
        "mesh_identities_renewal_failing 1",
        "mesh_identity_expiry_seconds 0",
        "mesh_node_certificate_expiry_seconds -5",
        "mesh_trust_roots 2",
        "mesh_discovery_snapshot_age_seconds 90",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
