//! One line of the access log.

use std::fmt::Write as _;
use std::net::IpAddr;

use mesh_ebpf::abi::{TCP, UDP};
use serde::Serialize;

use super::reasons::{is_failure, told};
use super::record::{Party, Record, Transport, Verdict, reporter_name};
use crate::relay::resource::LogFormat;

/// A line for a record, without its end.
pub(super) fn format(record: &Record, format: LogFormat) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(&Line::of(record)).unwrap_or_default(),
        LogFormat::Text => text(record),
    }
}

/// What a line says; `GET /failures` says it, too.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    time: String,
    verdict: &'static str,
    reporter: &'static str,
    protocol: String,
    source: Side<'a>,
    destination: Side<'a>,
    proof: &'static str,
    /// "tunnel" where it went, or was to go, through one; "plaintext" where the kernel carries it to
    /// where no name can be proven.
    #[serde(skip_serializing_if = "str::is_empty")]
    transport: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    /// Why it was denied, failed or was ended by the mesh.
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    expected_identity: &'a str,
    /// What to check, of a failure.
    #[serde(skip_serializing_if = "str::is_empty")]
    check: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    dialled: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    #[serde(flatten)]
    end: Option<End>,
}

/// One side, as a line says it.
#[derive(Debug, Serialize)]
pub(super) struct Side<'a> {
    address: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pod: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    identity: &'a str,
}

#[derive(Debug, Serialize)]
struct End {
    /// How it ended.
    ended: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
    duration_seconds: f64,
    /// Of the kernel's connections: the application's own end of a tunnel says nothing of the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_microseconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u32>,
}

impl<'a> Line<'a> {
    /// The line of a record.
    pub(crate) fn of(record: &'a Record) -> Self {
        let ended = record.verdict == Verdict::Ended;
        let of_kernel = record.transport != Transport::Tunnel;
        Self {
            time: time(record.unix_nanoseconds),
            verdict: verdict(record.verdict),
            reporter: reporter_name(record.reporter),
            protocol: protocol(record.protocol),
            source: Side::of(&record.source),
            destination: Side::of(&record.destination),
            proof: record.proof.name(),
            transport: transport(record),
            policy: &record.rule.policy,
            rule: &record.rule.rule,
            reason: reason(record),
            detail: &record.detail,
            expected_identity: &record.expected,
            check: check(record),
            dialled: record.dialled.map(socket).unwrap_or_default(),
            service: &record.service,
            end: ended.then(|| End {
                ended: record.reason.name(),
                bytes_sent: record.bytes_sent,
                bytes_received: record.bytes_received,
                duration_seconds: seconds(record.duration_nanoseconds),
                rtt_microseconds: of_kernel.then_some(record.rtt_microseconds),
                retransmits: of_kernel.then_some(record.retransmits),
            }),
        }
    }
}

impl<'a> Side<'a> {
    /// Of a party.
    pub(super) fn of(party: &'a Party) -> Self {
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
        reporter_name(record.reporter),
        record.proof.name(),
    );
    let mut pair = |key: &str, value: &str| append(&mut line, key, value);
    pair("source_identity", &record.source.identity);
    pair("destination_identity", &record.destination.identity);
    pair("transport", transport(record));
    pair("policy", &record.rule.policy);
    pair("rule", &record.rule.rule);
    pair("dialled", &record.dialled.map(socket).unwrap_or_default());
    pair("service", &record.service);
    if record.verdict == Verdict::Ended {
        pair("ended", record.reason.name());
        pair("bytes_sent", &record.bytes_sent.to_string());
        pair("bytes_received", &record.bytes_received.to_string());
        pair("duration_seconds", &seconds(record.duration_nanoseconds).to_string());
        if record.transport != Transport::Tunnel {
            pair("rtt_microseconds", &record.rtt_microseconds.to_string());
            pair("retransmits", &record.retransmits.to_string());
        }
    }
    pair("reason", reason(record));
    pair("expected_identity", &record.expected);
    pair("detail", &record.detail);
    pair("check", check(record));
    line
}

/// Appends ` key=value`, quoted where it must be; nothing for nothing.
pub(super) fn append(line: &mut String, key: &str, value: &str) {
    if value.is_empty() {
    } else if value.contains(|one: char| one == ' ' || one == '"' || one.is_control()) {
        let _ = write!(line, " {key}={value:?}");
    } else {
        let _ = write!(line, " {key}={value}");
    }
}

/// One side in text.
pub(super) fn side(party: &Party) -> String {
    let address = party.address.map(socket).unwrap_or_default();
    if party.pod.is_empty() { address } else { format!("{}/{}({address})", party.namespace, party.pod) }
}

/// Why; empty for an ordinary end, which `ended` tells.
fn reason(record: &Record) -> &'static str {
    if record.verdict == Verdict::Ended && !record.is_trouble() { "" } else { record.reason.name() }
}

fn check(record: &Record) -> &'static str {
    if is_failure(record.reason) || record.verdict == Verdict::Failed {
        told(record.reason).check
    } else {
        ""
    }
}

const fn transport(record: &Record) -> &'static str {
    match record.transport {
        Transport::Kernel => "",
        Transport::Plaintext => "plaintext",
        Transport::Tunnel => "tunnel",
    }
}

/// A verdict's name.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Denied => "denied",
        Verdict::Failed => "failed",
        Verdict::Audited => "audited",
        Verdict::Opened | Verdict::Ended => "allowed",
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
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1000) as f64 / 1e6
}

/// RFC 3339, UTC, microseconds.
pub(crate) fn time(unix_nanoseconds: u64) -> String {
    jiff::Timestamp::from_microsecond(i64::try_from(unix_nanoseconds / 1000).unwrap_or(0))
        .map(|at| format!("{at:.6}"))
        .unwrap_or_default()
}
