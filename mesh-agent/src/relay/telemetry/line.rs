//! One line of the access log.

use std::fmt::Write as _;
use std::net::IpAddr;

use mesh_ebpf::abi::{TCP, UDP};
use mesh_ebpf::policy::Direction;
use serde::Serialize;

use super::record::{Party, Record, Verdict};
use crate::relay::resource::LogFormat;

/// A line for a record, without its end.
pub(super) fn format(record: &Record, format: LogFormat) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(&Line::of(record)).unwrap_or_default(),
        LogFormat::Text => text(record),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    verdict: &'static str,
    reporter: &'static str,
    protocol: String,
    source: Side<'a>,
    destination: Side<'a>,
    proof: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    /// Why it was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    dialled: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    #[serde(flatten)]
    end: Option<End>,
}

#[derive(Serialize)]
struct Side<'a> {
    address: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pod: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    identity: &'a str,
}

#[derive(Serialize)]
struct End {
    /// How it ended.
    ended: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
    duration_seconds: f64,
    rtt_microseconds: u32,
    retransmits: u32,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        let ended = record.verdict == Verdict::Ended;
        Self {
            time: time(record.unix_nanoseconds),
            verdict: verdict(record.verdict),
            reporter: reporter(record.reporter),
            protocol: protocol(record.protocol),
            source: Side::of(&record.source),
            destination: Side::of(&record.destination),
            proof: record.proof.name(),
            policy: &record.rule.policy,
            rule: &record.rule.rule,
            reason: (!ended).then(|| record.reason.name()),
            dialled: socket(record.dialled),
            service: &record.service,
            end: ended.then(|| End {
                ended: record.reason.name(),
                bytes_sent: record.bytes_sent,
                bytes_received: record.bytes_received,
                duration_seconds: seconds(record.duration_nanoseconds),
                rtt_microseconds: record.rtt_microseconds,
                retransmits: record.retransmits,
            }),
        }
    }
}

impl<'a> Side<'a> {
    fn of(party: &'a Party) -> Self {
        Self {
            address: party.address.map(socket).unwrap_or_default(),
            pod: &party.pod,
            namespace: &party.namespace,
            identity: &party.identity,
        }
    }
}

/// `TIME VERDICT PROTOCOL SOURCE -> DESTINATION key=value...`
fn text(record: &Record) -> String {
    let mut line = format!(
        "{} {} {} {} -> {} reporter={} proof={}",
        time(record.unix_nanoseconds),
        verdict(record.verdict),
        protocol(record.protocol),
        side(&record.source),
        side(&record.destination),
        reporter(record.reporter),
        record.proof.name(),
    );
    let mut pair = |key: &str, value: &str| {
        if value.is_empty() {
        } else if value.contains([' ', '"']) {
            let _ = write!(line, " {key}={value:?}");
        } else {
            let _ = write!(line, " {key}={value}");
        }
    };
    pair("source_identity", &record.source.identity);
    pair("destination_identity", &record.destination.identity);
    pair("policy", &record.rule.policy);
    pair("rule", &record.rule.rule);
    pair("dialled", &socket(record.dialled));
    pair("service", &record.service);
    if record.verdict == Verdict::Ended {
        pair("ended", record.reason.name());
        pair("bytes_sent", &record.bytes_sent.to_string());
        pair("bytes_received", &record.bytes_received.to_string());
        pair("duration_seconds", &seconds(record.duration_nanoseconds).to_string());
        pair("rtt_microseconds", &record.rtt_microseconds.to_string());
        pair("retransmits", &record.retransmits.to_string());
    } else {
        pair("reason", record.reason.name());
    }
    line
}

fn side(party: &Party) -> String {
    let address = party.address.map(socket).unwrap_or_default();
    if party.pod.is_empty() { address } else { format!("{}/{}({address})", party.namespace, party.pod) }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Denied => "denied",
        Verdict::Audited => "audited",
        Verdict::Opened | Verdict::Ended => "allowed",
    }
}

const fn reporter(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "source",
        Direction::Ingress => "destination",
    }
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        other => format!("IP/{other}"),
    }
}

fn socket((address, port): (IpAddr, u16)) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people; years fit 52 bits of microseconds")]
fn seconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1000) as f64 / 1e6
}

/// RFC 3339, UTC, microseconds.
fn time(unix_nanoseconds: u64) -> String {
    jiff::Timestamp::from_microsecond(i64::try_from(unix_nanoseconds / 1000).unwrap_or(0))
        .map(|at| format!("{at:.6}"))
        .unwrap_or_default()
}
