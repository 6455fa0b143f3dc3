//! The pods of the node, as discovery knows them and as wire finds them.

use std::net::IpAddr;

use serde::Serialize;

use crate::handover::{PodReport, PodState};
use crate::relay::names::PodName;
use crate::relay::node::Node;
use crate::relay::resource::Workload;

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

/// Answers `GET /pods`.
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
        // What wire has not found is as open or closed as any unknown pod.
        state: state_name(report.map_or(PodState::Unknown, |report| report.state)),
        reason,
        late_enrolled: report.is_some_and(|report| report.late_enrolled),
        preexisting_connections: report.map_or(0, |report| report.preexisting_connections),
        validated: report.is_some_and(|report| report.validated),
        addresses: workload.map(|workload| workload.addresses.clone()).unwrap_or_default(),
        identity,
        node: node.name.clone(),
    }
}

/// What is wrong with a pod, as wire reports it.
pub(super) fn problem(node: &Node, report: &PodReport) -> Option<String> {
    let PodReport { reason, .. } = report;
    match report.state {
        PodState::Pending => Some(format!("pod {} is pending: {reason}", name(node, report))),
        // It is wired, and not in every way that it should be.
        PodState::Wired if !reason.is_empty() => Some(format!("pod {}: {reason}", name(node, report))),
        PodState::Wired | PodState::Unknown | PodState::Plain => None,
    }
}

/// `<namespace>/<name>`, or the UID of a pod that discovery does not know.
fn name(node: &Node, report: &PodReport) -> String {
    let desired = node.desired.borrow();
    desired
        .local_workload(&report.uid)
        .map_or_else(|| report.uid.clone(), |workload| format!("{}/{}", workload.namespace, workload.name))
}

/// Its name in answers.
pub(super) const fn state_name(state: PodState) -> &'static str {
    match state {
        PodState::Unknown => "unknown",
        PodState::Pending => "pending",
        PodState::Wired => "wired",
        PodState::Plain => "plain",
    }
}
