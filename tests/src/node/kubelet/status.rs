//! A pod as its kubelet reports it: the overlay in the run directory, and the report to the supervisor.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};

use super::Context;
use crate::{
    node::{PodAssignment, Report, overlay},
    testbed::DEFAULT_CONTAINER_ANNOTATION,
};

/// The time now, in the milliseconds that an API object carries at most.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = i64::try_from(since_epoch.as_millis()).unwrap_or_default();
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}

/// What changes about a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    pub(super) phase: &'static str,
    pub(super) ready: bool,
    pub(super) has_address: bool,
    pub(super) started: Option<Timestamp>,
    pub(super) deleted: Option<Timestamp>,
    pub(super) message: Option<String>,
}

/// Tells controller and supervisor; a file that cannot be written is in the node's log.
pub(super) fn publish(context: &Context, assignment: &PodAssignment, status: &Status) {
    let path = context.layout.overlay("pods").join(assignment.key.file_name());
    if let Err(error) = overlay::write(&path, &object(context, assignment, status)) {
        tracing::error!(path = %path.display(), %error, "cannot write the pod's status");
    }
    tell(
        context,
        Report::Pod {
            uid: assignment.uid.clone(),
            phase: status.phase.to_owned(),
            ready: status.ready,
            terminating: status.deleted.is_some(),
        },
    );
}

/// Takes the pod back.
pub(super) fn withdraw(context: &Context, assignment: &PodAssignment) {
    let path = context.layout.overlay("pods").join(assignment.key.file_name());
    if let Err(error) = overlay::remove(&path) {
        tracing::error!(path = %path.display(), %error, "cannot remove the pod's status");
    }
    tell(context, Report::Gone { uid: assignment.uid.clone() });
}

fn tell(context: &Context, report: Report) {
    // Nobody listens while the node is being taken down.
    let _ = context.reports.send(report);
}

fn object(context: &Context, assignment: &PodAssignment, status: &Status) -> Pod {
    let config = &context.config;
    let mut pod = if assignment.generated {
        assignment.pod.clone()
    } else {
        Pod { spec: Some(PodSpec::default()), ..Pod::default() }
    };
    pod.metadata = ObjectMeta {
        name: Some(assignment.key.name.clone()),
        namespace: Some(assignment.key.namespace.clone()),
        uid: Some(assignment.uid.clone()),
        deletion_timestamp: status.deleted.map(Time),
        ..pod.metadata
    };
    if let Some(first) = assignment.pod.spec.as_ref().and_then(|spec| spec.containers.first()) {
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.entry(DEFAULT_CONTAINER_ANNOTATION.to_owned()).or_insert_with(|| first.name.clone());
    }
    pod.spec.get_or_insert_default().node_name = Some(config.node.clone());
    let addresses = if status.has_address { assignment.addresses.both().to_vec() } else { Vec::new() };
    pod.status = Some(PodStatus {
        phase: Some(status.phase.to_owned()),
        conditions: Some(vec![PodCondition {
            type_: "Ready".to_owned(),
            status: if status.ready { "True" } else { "False" }.to_owned(),
            message: status.message.clone(),
            ..PodCondition::default()
        }]),
        host_ip: Some(config.addresses.v4.to_string()),
        host_ips: Some(config.addresses.both().map(|address| HostIP { ip: address.to_string() }).to_vec()),
        pod_ip: addresses.first().map(ToString::to_string),
        pod_ips: Some(addresses.iter().map(|address| PodIP { ip: address.to_string() }).collect()),
        start_time: status.started.map(Time),
        message: status.message.clone(),
        ..PodStatus::default()
    });
    pod
}
