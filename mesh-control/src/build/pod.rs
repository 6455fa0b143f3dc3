//! A pod as the build sees it: what it is, no matter how it was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use mesh_api::{
    GroupId,
    crd::Protocol,
    resources::{LocalPod, Workload},
};

use super::{
    enrol::{Enrolment, Refusal, enrolment},
    mirror::uid_on_node,
    pods::Group,
    probes::{probe_ports, running_containers},
    resource::octets,
    settings::Settings,
};
use crate::{ca::Placement, objects::ObjectName};

/// What the build knows of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodView {
    pub(super) name: ObjectName,
    /// The one that its node knows it by; empty until it is scheduled.
    pub(super) uid: String,
    /// Empty until it is scheduled.
    pub(super) node: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) group: GroupId,
    pub(super) workload: String,
    pub(super) enrolment: Enrolment,
    pub(super) host_network: bool,
    pub(super) encrypt_always: bool,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    /// Ports that containers give a name.
    pub(super) named_ports: BTreeMap<(Protocol, String), u16>,
    pub(super) probe_ports: BTreeSet<u16>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is known by name only.
    Unscheduled,
    /// It has, or is about to get, its containers.
    Live,
    /// It failed or succeeded: nothing of it runs, its address may be another's.
    Ended,
}

impl PodView {
    /// Reads a pod.
    pub(super) fn of(
        name: &ObjectName,
        pod: &Pod,
        namespace_labels: &BTreeMap<String, String>,
        handler: impl Fn(&str) -> Option<String>,
        settings: &Settings,
    ) -> Self {
        let default_spec = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default_spec);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        let service_account = spec.service_account_name.clone().filter(|name| !name.is_empty());
        let service_account = service_account.unwrap_or_else(|| "default".to_owned());
        let status = pod.status.as_ref();
        let uid = uid_on_node(pod);
        let phase = match status.and_then(|status| status.phase.as_deref()) {
            Some("Failed" | "Succeeded") => Phase::Ended,
            _ if uid.is_empty() => Phase::Unscheduled,
            _ => Phase::Live,
        };
        let handler = spec.runtime_class_name.as_deref().and_then(handler);
        let ready = status.and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
        Self {
            uid,
            node: spec.node_name.clone().unwrap_or_default(),
            group: GroupId::of(
                &name.namespace,
                &service_account,
                labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
            ),
            workload: workload_name(pod, &labels, &name.name),
            enrolment: enrolment(spec, &labels, &annotations, namespace_labels, handler.as_deref(), settings),
            host_network: spec.host_network.unwrap_or(false),
            encrypt_always: settings.of_namespace(&name.namespace).encrypt_always,
            addresses: addresses(pod),
            phase,
            ready,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            named_ports: named_ports(spec),
            probe_ports: probe_ports(spec),
            service_account,
            labels,
            name: name.clone(),
        }
    }

    /// Gives way to the class that had its group first: this pod is not in the mesh, and whatever
    /// names the other class does not name it.
    pub(super) fn give_way(&mut self, first: &Group) {
        let message = format!(
            "its namespace {}, service account {} and labels {:?} have the same hash as those of other pods: {}, {}, {:?}; change a label of one of them",
            self.name.namespace,
            self.service_account,
            self.labels,
            first.namespace,
            first.service_account,
            first.labels,
        );
        tracing::error!(pod = %self.name, group = %self.group, "{message}");
        // No label has an empty key, so no pod's group has this form.
        let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let labels = labels.chain([("", "refused")]);
        self.group = GroupId::of(&self.name.namespace, &self.service_account, labels);
        if self.enrolment == Enrolment::Enrolled {
            self.enrolment = Enrolment::Refused(Refusal { reason: "GroupTaken", message });
        }
    }

    /// The name of its resources, unique among all pods that ever were.
    pub(super) fn resource_name(&self) -> String {
        format!("{}/{}/{}", self.name.namespace, self.name.name, self.uid)
    }

    /// Whether nodes are told of it.
    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Its addresses, if it is in the mesh and live.
    pub(super) fn enrolled_addresses(&self) -> &[IpAddr] {
        let enrolled = self.is_live() && self.enrolment == Enrolment::Enrolled;
        if enrolled { &self.addresses } else { &[] }
    }

    /// Where it is; nothing until it is bound to a node.
    pub(super) fn placement(&self) -> Option<Placement> {
        let bound = !self.uid.is_empty() && !self.node.is_empty();
        bound.then(|| Placement {
            uid: self.uid.clone(),
            node: self.node.clone(),
            service_account: self.service_account.clone(),
            enrolled: self.enrolment == Enrolment::Enrolled,
            ended: self.phase == Phase::Ended,
        })
    }

    /// The resource; `local` for its own node.
    pub(super) fn resource(&self, local: bool) -> Workload {
        let refused_reason = match &self.enrolment {
            Enrolment::Refused(refusal) => format!("{}: {}", refusal.reason, refusal.message),
            Enrolment::Plain | Enrolment::Enrolled => String::new(),
        };
        Workload {
            uid: self.uid.clone(),
            namespace: self.name.namespace.clone(),
            name: self.name.name.clone(),
            service_account: self.service_account.clone(),
            addresses: self.addresses.iter().copied().map(octets).collect(),
            node: self.node.clone(),
            workload: self.workload.clone(),
            enrolled: self.enrolment == Enrolment::Enrolled,
            host_network: self.host_network,
            group: self.group.get(),
            encrypt_always: self.encrypt_always,
            local: local.then(|| LocalPod {
                probe_ports: self.probe_ports.iter().map(|port| u32::from(*port)).collect(),
                refused_reason,
            }),
        }
    }
}

/// `podIPs`, or `podIP` where that is all there is; what is no address is left out.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let all: Vec<IpAddr> = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    if all.is_empty() { status.pod_ip.iter().filter_map(|ip| ip.parse().ok()).collect() } else { all }
}

fn named_ports(spec: &PodSpec) -> BTreeMap<(Protocol, String), u16> {
    let mut named = BTreeMap::new();
    for port in running_containers(spec).flat_map(|container| container.ports.iter().flatten()) {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(_) => continue,
        };
        if let (Some(name), Ok(number @ 1..)) = (&port.name, u16::try_from(port.container_port)) {
            // As in Kubernetes, the first container that has the name counts.
            named.entry((protocol, name.clone())).or_insert(number);
        }
    }
    named
}

/// What metrics call it: the recommended labels, else the workload that owns it, else itself.
fn workload_name(pod: &Pod, labels: &BTreeMap<String, String>, name: &str) -> String {
    let label = ["app.kubernetes.io/name", "app"].into_iter().find_map(|key| labels.get(key));
    label.filter(|label| !label.is_empty()).cloned().unwrap_or_else(|| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
            return name.to_owned();
        };
        // A Deployment's ReplicaSet is named after it, and after the template's hash.
        let hash = labels.get("pod-template-hash").map(|hash| format!("-{hash}"));
        let deployment = hash.and_then(|hash| owner.name.strip_suffix(&hash));
        deployment.unwrap_or(&owner.name).to_owned()
    })
}
