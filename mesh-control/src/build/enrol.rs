//! Which pods are in the mesh, and which that ask for it cannot be (SEMANTICS 1.4).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use mesh_api::labels::{MODE, MODE_DISABLED, MODE_ENABLED};

use super::{mirror::MIRROR, settings::Settings};

type Labels = BTreeMap<String, String>;

/// How a pod stands to the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Enrolment {
    /// It does not ask to be in it.
    Plain,
    /// It is in it.
    Enrolled,
    /// It asks for it and is refused.
    Refused(Refusal),
}

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// One word for programs.
    pub(super) reason: &'static str,
    /// What was found and what to do.
    pub(super) message: String,
}

/// Names of containers that are another mesh's sidecar.
const SIDECARS: [&str; 5] =
    ["istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane", "envoy-sidecar"];

/// Labels and annotations by which another mesh has taken a pod, and the values that mean it has
/// not.
const TAKEN: [(&str, &[&str]); 5] = [
    ("istio.io/dataplane-mode", &["none"]),
    ("sidecar.istio.io/status", &[]),
    ("linkerd.io/proxy-version", &[]),
    ("kuma.io/sidecar-injected", &["false"]),
    ("consul.hashicorp.com/connect-inject-status", &[]),
];

/// Decides for a pod. `handler` is that of its runtime class.
pub(super) fn enrolment(
    pod: &PodSpec,
    labels: &Labels,
    annotations: &Labels,
    namespace_labels: &Labels,
    handler: Option<&str>,
    settings: &Settings,
) -> Enrolment {
    let mode = labels.get(MODE).or_else(|| namespace_labels.get(MODE)).map(String::as_str);
    let selected = || {
        let selector = settings.enrolment.as_ref();
        selector.is_some_and(|selector| selector.matches(labels) || selector.matches(namespace_labels))
    };
    match mode {
        Some(MODE_DISABLED) => Enrolment::Plain,
        Some(MODE_ENABLED) => decide(pod, labels, annotations, namespace_labels, handler),
        None if selected() => decide(pod, labels, annotations, namespace_labels, handler),
        None => Enrolment::Plain,
        Some(other) => Enrolment::Refused(Refusal {
            reason: "InvalidMode",
            message: format!("label {MODE} is `{other}`; write {MODE_ENABLED} or {MODE_DISABLED}"),
        }),
    }
}

/// Why a pod that asks for it cannot be in the mesh, as far as the pod itself shows it.
pub(crate) fn refusal(
    pod: &PodSpec,
    labels: &Labels,
    annotations: &Labels,
    namespace_labels: &Labels,
) -> Option<String> {
    match decide(pod, labels, annotations, namespace_labels, None) {
        Enrolment::Refused(refusal) => Some(refusal.message),
        Enrolment::Plain | Enrolment::Enrolled => None,
    }
}

fn decide(
    pod: &PodSpec,
    labels: &Labels,
    annotations: &Labels,
    namespace_labels: &Labels,
    handler: Option<&str>,
) -> Enrolment {
    let refusal = mirrored(annotations)
        .or_else(|| host_network(pod))
        .or_else(|| sandboxed(pod, handler))
        .or_else(|| sidecar(pod))
        .or_else(|| taken(labels, annotations, namespace_labels));
    refusal.map_or(Enrolment::Enrolled, Enrolment::Refused)
}

/// A static pod has no ServiceAccount, and what is its mirror any kubelet may make in any namespace: a name for it would
/// be a name for every node.
fn mirrored(annotations: &Labels) -> Option<Refusal> {
    annotations.contains_key(MIRROR).then(|| Refusal {
        reason: "StaticPod",
        message: format!(
            "annotation {MIRROR}: a static pod has no ServiceAccount, and so no name that could be proven; run it by a DaemonSet, or take the label off and match it by CIDR"
        ),
    })
}

fn host_network(pod: &PodSpec) -> Option<Refusal> {
    pod.host_network.unwrap_or(false).then(|| Refusal {
        reason: "HostNetwork",
        message: "spec.hostNetwork is true: the pod has no network of its own to enrol; take the label off, and match it by CIDR".to_owned(),
    })
}

/// Runtimes whose pods do their networking outside this kernel.
fn sandboxed(pod: &PodSpec, handler: Option<&str>) -> Option<Refusal> {
    let class = pod.runtime_class_name.as_deref()?;
    let sandbox = [Some(class), handler].into_iter().flatten().find(|name| {
        ["gvisor", "runsc", "kata"].iter().any(|sandbox| {
            let rest = name.strip_prefix(sandbox);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    })?;
    Some(Refusal {
        reason: "SandboxedRuntime",
        message: format!(
            "spec.runtimeClassName `{class}` ({sandbox}): its sockets are not this kernel's; use another runtime class or take the label off"
        ),
    })
}

fn sidecar(pod: &PodSpec) -> Option<Refusal> {
    let containers = || pod.containers.iter().chain(pod.init_containers.iter().flatten());
    // A container named envoy is a sidecar only beside another one; alone it is the application.
    let is_sidecar = |container: &&Container| {
        SIDECARS.contains(&container.name.as_str()) || (container.name == "envoy" && containers().count() > 1)
    };
    containers().find(is_sidecar).map(|container| Refusal {
        reason: "OtherMesh",
        message: format!("container `{}` is another mesh's sidecar; remove it first", container.name),
    })
}

fn taken(labels: &Labels, annotations: &Labels, namespace_labels: &Labels) -> Option<Refusal> {
    TAKEN.iter().find_map(|(key, free)| {
        let (place, value) =
            [("label", labels), ("annotation", annotations), ("namespace label", namespace_labels)]
                .into_iter()
                .find_map(|(place, values)| Some((place, values.get(*key)?)))?;
        (!free.contains(&value.as_str())).then(|| Refusal {
            reason: "OtherMesh",
            message: format!("{place} {key}: {value} gives the pod to another mesh; take one of the two off"),
        })
    })
}
