//! What series of requests are about. Nothing that a client chooses is a label: no path, no host, no
//! header, and a status only if it has a name.

use http::{StatusCode, Version};
use prometheus_client::encoding::EncodeLabelSet;

use super::Resolved;
use crate::relay::engine::record::Name;
use crate::relay::telemetry::bounded::Overflow;
use crate::relay::telemetry::labels::{FlowLabels, OVERFLOW, or_unknown};

/// The value of a label of what is not there.
const NONE: &str = "none";
/// The value of a status without a name.
const OTHER: &str = "other";
/// The highest status of gRPC (`UNAUTHENTICATED`).
const HIGHEST_GRPC: u16 = 16;

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in super::super) struct RequestLabels {
    /// Between whom.
    #[prometheus(flatten)]
    pub flow: FlowLabels,
    route: String,
    route_rule: String,
    backend: String,
    protocol: String,
    response_code: String,
    grpc_status: String,
    ending: String,
}

/// Labels of what a policy decided on a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in super::super) struct DecisionLabels {
    #[prometheus(flatten)]
    flow: FlowLabels,
    policy: String,
    rule: String,
}

impl RequestLabels {
    /// Those of a request.
    pub(super) fn of(resolved: &Resolved) -> Self {
        let told = &resolved.told;
        let name = |name: &Name| name.as_deref().unwrap_or(NONE).to_owned();
        Self {
            flow: flow(resolved),
            route: name(&told.labels.route),
            route_rule: name(&told.labels.rule),
            backend: name(&told.labels.backend),
            protocol: version_name(told.version).to_owned(),
            response_code: told.status.map_or_else(|| NONE.to_owned(), code),
            grpc_status: told.grpc_status.map_or_else(|| NONE.to_owned(), grpc_status),
            ending: told.ending.name().to_owned(),
        }
    }
}

impl DecisionLabels {
    /// Those of a request that this policy and rule decided on; neither is known of defaults.
    pub(super) fn of(resolved: &Resolved, (policy, rule): (Option<&str>, Option<&str>)) -> Self {
        Self {
            flow: flow(resolved),
            policy: or_unknown(policy.unwrap_or_default()),
            rule: or_unknown(rule.unwrap_or_default()),
        }
    }
}

fn flow(resolved: &Resolved) -> FlowLabels {
    let ends = [&resolved.source, &resolved.destination];
    FlowLabels::new(resolved.reporter, ends, &resolved.service, resolved.proof)
}

/// The name of what a client speaks.
pub(super) fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn code(status: StatusCode) -> String {
    if status.canonical_reason().is_some() { status.as_str().to_owned() } else { OTHER.to_owned() }
}

fn grpc_status(status: u16) -> String {
    if status <= HIGHEST_GRPC { status.to_string() } else { OTHER.to_owned() }
}

impl Overflow for RequestLabels {
    fn overflow() -> Self {
        let overflow = || OVERFLOW.to_owned();
        Self {
            flow: FlowLabels::overflow(),
            route: overflow(),
            route_rule: overflow(),
            backend: overflow(),
            protocol: overflow(),
            response_code: overflow(),
            grpc_status: overflow(),
            ending: overflow(),
        }
    }
}

impl Overflow for DecisionLabels {
    fn overflow() -> Self {
        let overflow = || OVERFLOW.to_owned();
        Self { flow: FlowLabels::overflow(), policy: overflow(), rule: overflow() }
    }
}
