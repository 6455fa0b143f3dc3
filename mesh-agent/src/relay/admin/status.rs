//! What the node enforces, and what is wrong.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use serde::Serialize;

use super::{log_level, pods, trust};
use crate::relay::node::Node;

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

/// Answers `GET /status`.
pub(super) fn status(node: &Node) -> Status {
    let desired = node.desired.borrow();
    let telemetry = node.telemetry.borrow();
    let reports = node.pods.borrow();
    let now = Instant::now();
    let age = |at: Instant| now.saturating_duration_since(at).as_secs();
    let mut by_state = BTreeMap::from([("unknown", 0), ("pending", 0), ("wired", 0), ("plain", 0)]);
    for report in reports.values() {
        *by_state.entry(pods::state_name(report.state)).or_default() += 1;
    }
    let local_proof = telemetry.last_counts().is_some_and(|(_, counts)| counts.local_proof);
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
        access_log: log_level::name_of(telemetry.log_level()),
        mesh_config_generation: desired.node().map_or(0, |config| config.mesh_config_generation),
        problems: problems(node, local_proof),
    }
}

fn problems(node: &Node, local_proof: bool) -> Vec<String> {
    let desired = node.desired.borrow();
    let mut problems = desired.problems();
    problems.extend(node.pods.borrow().values().filter_map(|report| pods::problem(node, report)));
    problems.extend(desired.local_workloads().filter_map(|workload| {
        let refused = workload.local.as_ref().map(|local| local.refused_reason.as_str())?;
        (!refused.is_empty())
            .then(|| format!("pod {}/{} is refused enrolment: {refused}", workload.namespace, workload.name))
    }));
    if node.telemetry.borrow().last_counts().is_some() && !local_proof {
        problems.push("LocalProof is False: source addresses are not validated on every pod's interface, so same-node traffic between enrolled pods takes the tunnel".to_owned());
    }
    problems.extend(trust::problems(node, SystemTime::now()));
    problems
}
