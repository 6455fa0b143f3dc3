//! Which kinds are acted on, which are known and left to others, and which nobody knows.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service},
    discovery::v1::EndpointSlice,
};
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;

/// An object of a kind that the testbed acts on.
#[derive(Debug, Clone)]
pub(super) enum Object {
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
    Deployment(Deployment),
    StatefulSet(StatefulSet),
    DaemonSet(DaemonSet),
    Job(Job),
    Service(Service),
    EndpointSlice(EndpointSlice),
    ConfigMap(ConfigMap),
    Secret(Secret),
    /// Known; nothing is done.
    PassedOver(String),
}

/// Kinds of Kubernetes itself of which nothing follows here.
const PASSED_OVER: &[&str] = &[
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "NetworkPolicy",
    "Ingress",
    "IngressClass",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "PriorityClass",
    "LimitRange",
    "ResourceQuota",
    "CustomResourceDefinition",
    "ServiceMonitor",
    "PodMonitor",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// API groups whose kinds are all the mesh's own business.
const PASSED_OVER_GROUPS: &[&str] =
    &["gateway.networking.k8s.io", "gateway.networking.x-k8s.io", "mesh.internal"];

/// Reads a document as the object of its kind; `None` if nobody knows the kind.
pub(super) fn object(
    document: Value,
    kind: &str,
    api_version: &str,
) -> Option<Result<Object, serde_yaml_ng::Error>> {
    fn read<T: DeserializeOwned>(
        document: Value,
        make: fn(T) -> Object,
    ) -> Result<Object, serde_yaml_ng::Error> {
        serde_yaml_ng::from_value(document).map(make)
    }
    let object = match (api_version, kind) {
        ("v1", "Namespace") => read(document, Object::Namespace),
        ("v1", "Node") => read(document, Object::Node),
        ("v1", "Pod") => read(document, Object::Pod),
        ("v1", "Service") => read(document, Object::Service),
        ("v1", "ConfigMap") => read(document, Object::ConfigMap),
        ("v1", "Secret") => read(document, Object::Secret),
        ("apps/v1", "Deployment") => read(document, Object::Deployment),
        ("apps/v1", "StatefulSet") => read(document, Object::StatefulSet),
        ("apps/v1", "DaemonSet") => read(document, Object::DaemonSet),
        ("batch/v1", "Job") => read(document, Object::Job),
        ("discovery.k8s.io/v1", "EndpointSlice") => read(document, Object::EndpointSlice),
        _ => {
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            if !PASSED_OVER_GROUPS.contains(&group) && !PASSED_OVER.contains(&kind) {
                return None;
            }
            Ok(Object::PassedOver(kind.to_owned()))
        }
    };
    Some(object)
}
