//! From what the workers tell of requests to series, lines and what `explain` shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{Method, StatusCode, Version};
use mesh_api::SpiffeId;

use super::{World, telemetry, total};
use crate::relay::engine::record::{Ending, Labels, Record};
use crate::relay::resource::{AccessLog, LogFormat, LogLevel};
use crate::relay::telemetry::requests::{Denied, Resolved};
use crate::relay::telemetry::{Happened, LogPlace, Telemetry};
use crate::relay::tunnel::report::requests::{About, Request};
use crate::relay::tunnel::report::{PeerIdentity, Side};

fn id(account: &str) -> Arc<SpiffeId> {
    Arc::new(SpiffeId::new("cluster.local", "bank", account).unwrap())
}

fn at(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// A request of the teller to the vault, as either side sees it.
fn request(side: Side) -> Request {
    let source = side == Side::Source;
    let about = About {
        side,
        pod: if source { "uid-teller-1" } else { "uid-vault-1" }.into(),
        own: Some(id(if source { "teller" } else { "vault" })),
        source: at("10.0.0.1:40000"),
        peer: if source { PeerIdentity::Unknown } else { PeerIdentity::Proven(id("teller")) },
        dialled: at("10.96.0.7:80").filter(|_| source),
        service: source.then(|| "bank/vault:80".into()),
        destination_port: (!source).then_some(8080),
    };
    let labels = if source {
        Labels {
            route: Some("HTTPRoute/bank/vault".into()),
            rule: Some("rules[0]".into()),
            backend: Some("bank/vault:80".into()),
            ..Labels::default()
        }
    } else {
        Labels {
            policy: Some("AccessPolicy/bank/vault".into()),
            policy_rule: Some("tellers".into()),
            ..Labels::default()
        }
    };
    let record = Record {
        at: UNIX_EPOCH + Duration::from_nanos(1_795_255_200_123_456_789),
        version: Version::HTTP_2,
        method: Some(Method::GET),
        authority: "vault".into(),
        path: "/accounts/7".into(),
        request_id: Some("r-1".into()),
        trace: Some("0af7651916cd43dd8448eb211c80319c".into()),
        labels,
        endpoint: at("10.0.0.2:8080"),
        status: Some(StatusCode::OK),
        grpc_status: Some(0),
        first_octet: Some(Duration::from_millis(20)),
        duration: Duration::from_millis(1500),
        received: 100,
        sent: 2000,
        attempts: 1,
        mirrored: false,
        ending: Ending::Forwarded,
        detail: String::new(),
    };
    Request { about: Arc::new(about), record }
}

/// The same of a caller that has proven nothing, denied.
fn denied(id: &str, port: u16) -> Request {
    let mut request = request(Side::Destination);
    Arc::make_mut(&mut request.about).peer = PeerIdentity::Unknown;
    Arc::make_mut(&mut request.about).source = Some(SocketAddr::from(([192, 0, 2, 1], port)));
    request.record.ending = Ending::Denied;
    request.record.status = Some(StatusCode::FORBIDDEN);
    request.record.endpoint = None;
    request.record.attempts = 0;
    request.record.labels.denial = Some(id.into());
    request
}

fn audited() -> Request {
    let mut request = request(Side::Destination);
    request.record.labels.audit = Some("AccessPolicy/bank/strict (no rule allows)".into());
    request
}

fn ending(ending: Ending, status: u16) -> Request {
    let mut request = request(Side::Source);
    request.record.ending = ending;
    request.record.status = StatusCode::from_u16(status).ok();
    request.record.grpc_status = None;
    request
}

fn lines(format: LogFormat, level: LogLevel, requests: Vec<Request>) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (world, mut telemetry) = (World::new(), telemetry());
    telemetry.log_to(LogPlace::File(path.clone())).unwrap();
    telemetry.configure(AccessLog { format, level });
    for request in requests {
        telemetry.requested(request, world.context());
    }
    telemetry.flush_log();
    std::fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
}

fn line(format: LogFormat, request: Request) -> String {
    lines(format, LogLevel::All, vec![request]).remove(0)
}

fn tell(telemetry: &mut Telemetry, requests: impl IntoIterator<Item = Request>) {
    let world = World::new();
    for request in requests {
        telemetry.requested(request, world.context());
    }
}

#[test]
fn a_line_has_what_the_client_asked_and_what_decided() {
    assert_eq!(
        line(LogFormat::Json, request(Side::Source)),
        r#"{"time":"2026-11-21T10:00:00.123456Z","verdict":"allowed","reporter":"source","protocol":"HTTP/2","source":{"address":"10.0.0.1:40000","pod":"teller-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/teller"},"destination":{"address":"10.0.0.2:8080","pod":"vault-1","namespace":"bank","identity":"spiffe://cluster.local/ns/bank/sa/vault"},"proof":"kernel","service":"bank/vault:80","dialled":"10.96.0.7:80","method":"GET","path":"/accounts/7","host":"vault","status":200,"grpc_status":0,"route":"HTTPRoute/bank/vault","route_rule":"rules[0]","backend":"bank/vault:80","ended":"Forwarded","duration_seconds":1.5,"first_byte_seconds":0.02,"request_bytes":100,"response_bytes":2000,"attempts":1,"request_id":"r-1","trace_id":"0af7651916cd43dd8448eb211c80319c"}"#
    );
    assert_eq!(
        line(LogFormat::Text, denied("00000000000000aa", 40_000)),
        r#"2026-11-21T10:00:00.123456Z denied HTTP/2 192.0.2.1:40000 -> bank/vault-1(10.0.0.2:8080) reporter=destination proof=unproven destination_identity=spiffe://cluster.local/ns/bank/sa/vault method=GET path=/accounts/7 host=vault status=403 grpc_status=0 policy=AccessPolicy/bank/vault rule=tellers denial=00000000000000aa duration_seconds=1.5 first_byte_seconds=0.02 request_bytes=100 response_bytes=2000 attempts=0 request_id=r-1 trace_id=0af7651916cd43dd8448eb211c80319c reason=Denied check="the policy and the rule that the line names; `meshctl can SRC DST METHOD PATH`""#
    );
}

#[test]
fn an_audited_request_is_one_line_with_both_policies() {
    let line = line(LogFormat::Json, audited());
    for part in [
        r#""verdict":"audited""#,
        r#""policy":"AccessPolicy/bank/vault","rule":"tellers","audit_policy":"AccessPolicy/bank/strict","audit_rule":"(no rule allows)""#,
        r#""ended":"Forwarded""#,
    ] {
        assert!(line.contains(part), "{part}\n{line}");
    }
}

#[test]
fn what_a_client_writes_cannot_forge_a_line() {
    let mut forged = ending(Ending::BadRequest, 400);
    forged.record.authority = "a\nb".into();
    forged.record.path = "/x\u{7f}y".into();
    let text = lines(LogFormat::Text, LogLevel::All, vec![forged]);
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(text[0].contains(r#" path="/x\u{7f}y" host="a\nb" "#), "{text:?}");
}

#[test]
fn the_level_chooses_the_lines_and_a_pod_causes_only_so_many() {
    let all = || vec![request(Side::Source), denied("1", 1), audited(), ending(Ending::NoRoute, 404)];
    let verdicts = |level| {
        let lines = lines(LogFormat::Text, level, all());
        lines.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(LogLevel::All), ["allowed", "denied", "audited", "failed"]);
    assert_eq!(verdicts(LogLevel::Denied), ["denied", "audited", "failed"]);
    assert!(verdicts(LogLevel::Off).is_empty());
    let hammered = (0..2_000).map(|port| denied("1", port)).collect();
    let most = usize::try_from(mesh_ebpf::abi::capacity::EVENTS_PER_POD_SECOND).unwrap();
    assert_eq!(lines(LogFormat::Text, LogLevel::Denied, hammered).len(), most);
}

#[test]
fn series_are_of_what_decided_and_never_of_what_a_client_chooses() {
    let mut telemetry = telemetry();
    let paths = (0..100).map(|number| {
        let mut request = request(Side::Source);
        request.record.path = format!("/{number}");
        request.record.authority = format!("host-{number}");
        request.record.status = StatusCode::from_u16(600 + number).ok();
        request.record.grpc_status = Some(17 + number);
        request
    });
    tell(&mut telemetry, paths);
    tell(
        &mut telemetry,
        [denied("1", 1), audited(), ending(Ending::TimedOut, 504), ending(Ending::Switched, 101)],
    );
    let text = telemetry.metrics().text().unwrap();
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    assert_eq!(series("mesh_requests_total").len(), 5, "{text}");
    assert_eq!(total(&telemetry, "mesh_requests_total"), 104);
    for part in [
        r#"destination_service="bank/vault",proof="kernel",route="HTTPRoute/bank/vault",route_rule="rules[0]",backend="bank/vault:80",protocol="HTTP/2",response_code="other",grpc_status="other",ending="Forwarded"} 100"#,
        r#"response_code="504",grpc_status="none",ending="RequestTimedOut"} 1"#,
        r#"route="none",route_rule="none",backend="none",protocol="HTTP/2",response_code="403",grpc_status="0",ending="Denied"} 1"#,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let refused = series("mesh_requests_denied_total");
    assert!(
        refused.len() == 1 && refused[0].contains(r#"policy="AccessPolicy/bank/vault",rule="tellers"} 1"#)
    );
    let audit = series("mesh_requests_audited_total");
    assert!(audit.len() == 1 && audit[0].contains(r#"strict",rule="(no rule allows)"} 1"#), "{audit:?}");
    let observed: u64 = series("mesh_request_duration_seconds_count")
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(observed, 103, "what was switched is no duration of a request");
}

#[test]
fn the_engine_is_told_of_at_zero() {
    let text = telemetry().metrics().text().unwrap();
    for line in [
        r#"mesh_engine_bytes_total{direction="received"} 0"#,
        r#"mesh_engine_bytes_total{direction="sent"} 0"#,
        "mesh_engine_connections_open 0",
        "mesh_engine_connections_unread_total 0",
        "mesh_engine_reports_lost_total 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
}

#[test]
fn explain_knows_what_was_refused_once_of_a_kind() {
    let mut telemetry = telemetry();
    tell(&mut telemetry, (0..50).map(|port| denied("1", port)));
    tell(&mut telemetry, [request(Side::Source), audited(), ending(Ending::NoRoute, 404)]);
    tell(&mut telemetry, [ending(Ending::ClientGone, 200), ending(Ending::Revoked, 200)]);
    let latest = telemetry.failures().latest().map(|failure| match &failure.latest {
        Happened::Request(resolved) => {
            (resolved.told.ending, failure.count, failure.concerns("bank/vault-1"))
        }
        Happened::Connection(record) => panic!("a connection: {record:?}"),
    });
    assert_eq!(
        latest.collect::<Vec<_>>(),
        [(Ending::Revoked, 1, true), (Ending::NoRoute, 1, true), (Ending::Denied, 50, true)]
    );
}

#[test]
fn a_denial_is_found_by_what_its_caller_was_told() {
    let mut telemetry = telemetry();
    tell(&mut telemetry, [denied("aa", 1), denied("bb", 2), request(Side::Source)]);
    let port = |id: &str| telemetry.denial(id).and_then(|found| Some(found.source.address?.1));
    assert_eq!([port("aa"), port("bb"), port("cc"), port("")], [Some(1), Some(2), None, None]);
}

#[test]
fn who_hammers_pushes_out_its_own_denials_first() {
    let world = World::new();
    let resolved = |id: &str, last: u8| {
        let mut request = denied(id, 1);
        Arc::make_mut(&mut request.about).source = Some(SocketAddr::from(([192, 0, 2, last], 1)));
        Resolved::of(request, world.context())
    };
    let mut remembered = Denied::default();
    remembered.note(&resolved("mine", 7));
    for number in 0..10_000 {
        remembered.note(&resolved(&number.to_string(), 1));
    }
    assert_eq!(remembered.count(), 4096);
    assert!(remembered.find("mine").is_some() && remembered.find("9999").is_some());
    assert!(remembered.find("0").is_none(), "the oldest of who has the most");
}

#[test]
fn whose_address_is_of_this_node_was_proven_by_the_kernel() {
    let world = World::new();
    let proof = |request| Resolved::of(request, world.context()).proof.name();
    assert_eq!(proof(request(Side::Source)), "kernel");
    assert_eq!(proof(request(Side::Destination)), "kernel");
    let mut far = request(Side::Destination);
    Arc::make_mut(&mut far.about).source = at("10.0.9.9:40000");
    assert_eq!(proof(far), "mtls");
    assert_eq!(proof(denied("1", 1)), "unproven");
}
