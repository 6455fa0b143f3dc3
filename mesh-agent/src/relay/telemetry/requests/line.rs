//! One line of the access log about a request.

use std::time::Duration;

use serde::Serialize;

use super::Resolved;
use super::endings::told;
use super::labels::version_name;
use crate::relay::engine::record::Name;
use crate::relay::resource::LogFormat;
use crate::relay::telemetry::line::{Side, append, seconds, side, time, verdict};
use crate::relay::telemetry::record::reporter_name;
use crate::relay::telemetry::tunnelled::nanoseconds;

/// A line for a request, without its end.
pub(super) fn format(resolved: &Resolved, format: LogFormat) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(&Line::of(resolved)).unwrap_or_default(),
        LogFormat::Text => text(resolved),
    }
}

/// What a line says; `GET /failures` and `GET /denial` say it, too.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    time: String,
    verdict: &'static str,
    reporter: &'static str,
    protocol: &'static str,
    source: Side<'a>,
    destination: Side<'a>,
    proof: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialled: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route_rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// In Audit mode: what would have denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_rule: Option<&'a str>,
    /// What an unproven caller was told in the place of policy and rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    denial: Option<&'a str>,
    /// Why it was denied, failed or was ended by the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    /// What to check, of a failure.
    #[serde(skip_serializing_if = "str::is_empty")]
    check: &'static str,
    /// How it ended, where nothing went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<&'static str>,
    duration_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_seconds: Option<f64>,
    request_bytes: u64,
    response_bytes: u64,
    attempts: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mirrored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// The line of a request.
    pub(crate) fn of(resolved: &'a Resolved) -> Self {
        let (request, labels) = (&resolved.told, &resolved.told.labels);
        let trouble = resolved.is_trouble();
        let ending = request.ending.name();
        let audit = resolved.audit();
        Self {
            time: time(resolved.unix_nanoseconds()),
            verdict: verdict(resolved.verdict),
            reporter: reporter_name(resolved.reporter),
            protocol: version_name(request.version),
            source: Side::of(&resolved.source),
            destination: Side::of(&resolved.destination),
            proof: resolved.proof.name(),
            service: &resolved.service,
            dialled: resolved.dialled.map(|dialled| dialled.to_string()),
            method: request.method.as_ref().map(http::Method::as_str),
            path: &request.path,
            host: &request.authority,
            status: request.status.map(|status| status.as_u16()),
            grpc_status: request.grpc_status,
            route: text_of(&labels.route),
            route_rule: text_of(&labels.rule),
            backend: text_of(&labels.backend),
            policy: text_of(&labels.policy),
            rule: text_of(&labels.policy_rule),
            audit_policy: audit.map(|(policy, _)| policy),
            audit_rule: audit.map(|(_, rule)| rule),
            denial: text_of(&labels.denial),
            reason: trouble.then_some(ending),
            detail: &request.detail,
            check: if trouble { told(request.ending).check } else { "" },
            ended: (!trouble).then_some(ending),
            duration_seconds: seconds_of(request.duration),
            first_byte_seconds: request.first_octet.map(seconds_of),
            request_bytes: request.received,
            response_bytes: request.sent,
            attempts: request.attempts,
            mirrored: request.mirrored,
            request_id: request.request_id.as_deref(),
            trace_id: request.trace.as_deref(),
        }
    }
}

/// `TIME VERDICT PROTOCOL SOURCE -> DESTINATION key=value...`
fn text(resolved: &Resolved) -> String {
    let line = Line::of(resolved);
    let mut text = format!(
        "{} {} {} {} -> {} reporter={} proof={}",
        line.time,
        line.verdict,
        line.protocol,
        side(&resolved.source),
        side(&resolved.destination),
        line.reporter,
        line.proof,
    );
    let number = |number: Option<u16>| number.map(|number| number.to_string()).unwrap_or_default();
    let first = line.first_byte_seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    for (key, value) in [
        ("source_identity", resolved.source.identity.as_str()),
        ("destination_identity", &resolved.destination.identity),
        ("service", line.service),
        ("dialled", line.dialled.as_deref().unwrap_or_default()),
        ("method", line.method.unwrap_or_default()),
        ("path", line.path),
        ("host", line.host),
        ("status", &number(line.status)),
        ("grpc_status", &number(line.grpc_status)),
        ("route", line.route.unwrap_or_default()),
        ("route_rule", line.route_rule.unwrap_or_default()),
        ("backend", line.backend.unwrap_or_default()),
        ("policy", line.policy.unwrap_or_default()),
        ("rule", line.rule.unwrap_or_default()),
        ("audit_policy", line.audit_policy.unwrap_or_default()),
        ("audit_rule", line.audit_rule.unwrap_or_default()),
        ("denial", line.denial.unwrap_or_default()),
        ("ended", line.ended.unwrap_or_default()),
        ("duration_seconds", &line.duration_seconds.to_string()),
        ("first_byte_seconds", &first),
        ("request_bytes", &line.request_bytes.to_string()),
        ("response_bytes", &line.response_bytes.to_string()),
        ("attempts", &line.attempts.to_string()),
        ("mirrored", if line.mirrored { "true" } else { "" }),
        ("request_id", line.request_id.unwrap_or_default()),
        ("trace_id", line.trace_id.unwrap_or_default()),
        ("reason", line.reason.unwrap_or_default()),
        ("detail", line.detail),
        ("check", line.check),
    ] {
        append(&mut text, key, value);
    }
    text
}

fn text_of(name: &Name) -> Option<&str> {
    name.as_deref()
}

fn seconds_of(duration: Duration) -> f64 {
    seconds(nanoseconds(duration))
}
