//! What the node enforces, and what is wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use mesh_ebpf::policy::Direction;
use serde::Serialize;

use super::endpoint::protocol_name;
use super::{AdminError, trust};
use crate::handover::{PodReport, PodState};
use crate::relay::names::PodName;
use crate::relay::node::Node;
use crate::relay::resource::{LogLevel, Workload};

/// `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    node: String,
    version: &'static str,
    ready: bool,
    /// Why it is not; empty when it is.
    unready: Vec<String>,
    /// relay is shutting down.
    draining: bool,
    discovery: Discovery,
    /// The node's own certificate; `null` before the node has joined.
    certificate: Option<trust::Certificate>,
    trust: trust::Trust,
    tunnel: trust::Tunnel,
    wire: Wire,
    /// Pods by state.
    pods: BTreeMap<&'static str, usize>,
    resources: BTreeMap<&'static str, usize>,
    unknown_pods: &'static str,
    local_proof: bool,
    access_log: &'static str,
    mesh_config_generation: i64,
    /// What is not in force as it stands, and what needs somebody's attention.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Discovery {
    connected: bool,
    complete: bool,
    /// Since the controller was last heard.
    age_seconds: Option<u64>,
    /// The state held came from the snapshot, and no controller has confirmed it yet.
    restored: bool,
    /// Age of the state held, kept on disk as the snapshot.
    snapshot_age_seconds: Option<u64>,
    /// Why it is not kept on disk; empty while it is.
    snapshot_trouble: String,
    trouble: String,
    nacks: u64,
    last_nack: String,
}

#[derive(Debug, Serialize)]
struct Wire {
    connected: bool,
    /// Everything that discovery told is in the kernel.
    programmed: bool,
    trouble: String,
    counts_age_seconds: Option<u64>,
}

/// One row of `GET /pods`.
#[derive(Debug, Serialize)]
pub(super) struct Pod {
    namespace: String,
    name: String,
    uid: String,
    state: &'static str,
    /// Why it is not wired, or what else is to be known; empty for nothing.
    reason: String,
    late_enrolled: bool,
    preexisting_connections: u64,
    /// The source addresses it may use are validated.
    validated: bool,
    addresses: Vec<IpAddr>,
    identity: String,
    node: String,
}

/// One row of `GET /denials`.
#[derive(Debug, Serialize)]
pub(super) struct Denial {
    namespace: String,
    pod: String,
    direction: &'static str,
    peer_namespace: String,
    peer_workload: String,
    protocol: &'static str,
    policy: String,
    rule: String,
    reason: &'static str,
    audited: bool,
    count: u64,
}

pub(super) fn status(node: &Node) -> Status {
    let desired = node.desired.borrow();
    let telemetry = node.telemetry.borrow();
    let pods = node.pods.borrow();
    let now = Instant::now();
    let age = |at: Instant| now.saturating_duration_since(at).as_secs();
    let mut by_state = BTreeMap::from([("unknown", 0), ("pending", 0), ("wired", 0), ("plain", 0)]);
    for report in pods.values() {
        *by_state.entry(state_name(report.state)).or_default() += 1;
    }
    let local_proof = telemetry.last_counts().is_some_and(|(_, counts)| counts.local_proof);
    let mut problems = desired.problems();
    problems.extend(
        pods.values()
            .filter(|report| report.state == PodState::Pending)
            .map(|report| format!("pod {} is pending: {}", pod_name(node, report), report.reason)),
    );
    problems.extend(desired.local_workloads().filter_map(|workload| {
        let refused = workload.local.as_ref().map(|local| local.refused_reason.as_str())?;
        (!refused.is_empty())
            .then(|| format!("pod {}/{} is refused enrolment: {refused}", workload.namespace, workload.name))
    }));
    if telemetry.last_counts().is_some() && !local_proof {
        problems.push("LocalProof is False: source addresses are not validated on every pod's interface, so same-node traffic between enrolled pods takes the tunnel".to_owned());
    }
    problems.extend(trust::problems(node, SystemTime::now()));
    let unready = node.unready();
    Status {
        node: node.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        ready: unready.is_empty(),
        unready,
        draining: node.draining.get(),
        certificate: trust::certificate(node),
        trust: trust::trust(node),
        tunnel: trust::tunnel(node),
        discovery: Discovery {
            connected: node.discovery.connected.get(),
            complete: *node.discovery.complete.borrow(),
            age_seconds: node.discovery.heard.get().map(age),
            restored: node.discovery.restored.get(),
            snapshot_age_seconds: node.discovery.age(SystemTime::now()).map(|age| age.as_secs()),
            snapshot_trouble: node.discovery.snapshot_trouble.borrow().clone(),
            trouble: node.discovery.trouble.borrow().clone(),
            nacks: node.discovery.nacks.get(),
            last_nack: node.discovery.last_nack.borrow().clone(),
        },
        wire: Wire {
            connected: node.link.connected.get(),
            programmed: node.link.synced.get() && *node.link.applied.borrow() == desired.revision(),
            trouble: node.link.trouble.borrow().clone(),
            counts_age_seconds: telemetry.last_counts().map(|(at, _)| age(*at)),
        },
        pods: by_state,
        resources: desired.counts().into_iter().map(|(kind, count)| (kind.name(), count)).collect(),
        unknown_pods: match desired.node() {
            Some(config) if config.unknown_closed => "Closed",
            _ => "Open",
        },
        local_proof,
        access_log: log_level_name(telemetry.log_level()),
        mesh_config_generation: desired.node().map_or(0, |config| config.mesh_config_generation),
        problems,
    }
}

pub(super) fn pods(node: &Node) -> Vec<Pod> {
    let desired = node.desired.borrow();
    let names = node.names.borrow();
    let reports = node.pods.borrow();
    let mut rows: Vec<Pod> = desired
        .local_workloads()
        .map(|workload| {
            let identity = names.identity(&PodName::from(workload));
            row(node, Some(workload), reports.get(&workload.uid), identity)
        })
        .collect();
    let known = |uid: &str| desired.local_workload(uid).is_some();
    rows.extend(
        reports
            .values()
            .filter(|report| !known(&report.uid))
            .map(|report| row(node, None, Some(report), String::new())),
    );
    rows.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
    rows
}

fn row(node: &Node, workload: Option<&Workload>, report: Option<&PodReport>, identity: String) -> Pod {
    let refused = workload
        .and_then(|workload| workload.local.as_ref())
        .map_or("", |local| local.refused_reason.as_str());
    let reason = match report {
        Some(report) if !report.reason.is_empty() => report.reason.clone(),
        None => "wire has not found its cgroup yet".to_owned(),
        Some(_) => refused.to_owned(),
    };
    Pod {
        namespace: workload.map(|workload| workload.namespace.clone()).unwrap_or_default(),
        name: workload.map(|workload| workload.name.clone()).unwrap_or_default(),
        uid: workload
            .map(|workload| workload.uid.clone())
            .or_else(|| report.map(|report| report.uid.clone()))
            .unwrap_or_default(),
        state: report.map_or("absent", |report| state_name(report.state)),
        reason,
        late_enrolled: report.is_some_and(|report| report.late_enrolled),
        preexisting_connections: report.map_or(0, |report| report.preexisting_connections),
        validated: report.is_some_and(|report| report.validated),
        addresses: workload.map(|workload| workload.addresses.clone()).unwrap_or_default(),
        identity,
        node: node.name.clone(),
    }
}

pub(super) fn denials(node: &Node) -> Vec<Denial> {
    let telemetry = node.telemetry.borrow();
    let names = node.names.borrow();
    let rows = telemetry.last_counts().map(|(_, counts)| counts.denials.as_slice());
    let mut rows: Vec<Denial> = rows
        .unwrap_or_default()
        .iter()
        .map(|row| {
            let pod = names.pod(row.uid);
            let peer = names.group(row.peer_group);
            let rule = names.rule(row.set, row.rule, row.direction);
            let text = |text: Option<&String>| text.cloned().unwrap_or_default();
            Denial {
                namespace: text(pod.map(|pod| &pod.namespace)),
                pod: text(pod.map(|pod| &pod.name)),
                direction: match row.direction {
                    Direction::Ingress => "ingress",
                    Direction::Egress => "egress",
                },
                peer_namespace: text(peer.map(|peer| &peer.namespace)),
                peer_workload: text(peer.map(|peer| &peer.workload)),
                protocol: protocol_name(row.protocol),
                policy: rule.policy,
                rule: rule.rule,
                reason: row.reason.name(),
                audited: row.audited,
                count: row.count,
            }
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    rows
}

/// `<namespace>/<name>`, or the UID of a pod that discovery does not know.
fn pod_name(node: &Node, report: &PodReport) -> String {
    let desired = node.desired.borrow();
    desired
        .local_workload(&report.uid)
        .map_or_else(|| report.uid.clone(), |workload| format!("{}/{}", workload.namespace, workload.name))
}

const fn state_name(state: PodState) -> &'static str {
    match state {
        PodState::Unknown => "unknown",
        PodState::Pending => "pending",
        PodState::Wired => "wired",
        PodState::Plain => "plain",
    }
}

/// A level by its name; `None` for the configured one.
pub(super) fn log_level_of(name: &str) -> Result<Option<LogLevel>, AdminError> {
    match name.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "denied" => Ok(Some(LogLevel::Denied)),
        "all" => Ok(Some(LogLevel::All)),
        "off" => Ok(Some(LogLevel::Off)),
        _ => Err(AdminError::Parameter {
            name: "level",
            value: name.to_owned(),
            problem: "one of Denied, All, Off, or empty for what MeshConfig says",
        }),
    }
}

/// Its name.
pub(super) const fn log_level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Denied => "Denied",
        LogLevel::All => "All",
        LogLevel::Off => "Off",
    }
}
