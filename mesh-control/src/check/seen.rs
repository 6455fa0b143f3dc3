//! What checks are decided on: lists of objects, and answers of the mesh's own parts.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use mesh_api::crd::{AccessPolicy, MeshConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Right;
use crate::admin::StatusReport;
use crate::ca::CaReport;

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

impl From<&Unknown> for Unknown {
    fn from(unknown: &Unknown) -> Self {
        unknown.clone()
    }
}

/// Something, or why it is not known.
pub type Known<T> = Result<T, Unknown>;

/// What an agent or the controller answered, or why it did not.
pub type Answered<T> = Result<T, String>;

/// Everything that was looked at.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The version of meshctl.
    pub meshctl: String,
    /// The namespace of the mesh.
    pub mesh: String,
    /// Major and minor version of the API server.
    pub kubernetes: Known<(u32, u32)>,
    /// Rights, and whether they are granted.
    pub rights: Known<Vec<(Right, bool)>>,
    /// Every node.
    pub nodes: Known<Vec<Node>>,
    /// Every namespace.
    pub namespaces: Known<Vec<Namespace>>,
    /// Every pod.
    pub pods: Known<Vec<Pod>>,
    /// Every Service.
    pub services: Known<Vec<Service>>,
    /// Every DaemonSet.
    pub daemon_sets: Known<Vec<DaemonSet>>,
    /// Every Deployment.
    pub deployments: Known<Vec<Deployment>>,
    /// Every NetworkPolicy.
    pub network_policies: Known<Vec<NetworkPolicy>>,
    /// Webhooks that judge.
    pub validating: Known<Vec<ValidatingWebhookConfiguration>>,
    /// Webhooks that change.
    pub mutating: Known<Vec<MutatingWebhookConfiguration>>,
    /// Parts of the API that others serve.
    pub api_services: Known<Vec<APIService>>,
    /// Every definition.
    pub definitions: Known<Vec<CustomResourceDefinition>>,
    /// ConfigMaps called `cilium-config`.
    pub cilium: Known<Vec<ConfigMap>>,
    /// FelixConfigurations of Calico; empty where there is no such kind.
    pub felix: Known<Vec<Value>>,
    /// PodMonitors and ServiceMonitors; empty where there are no such kinds.
    pub monitors: Known<Vec<Value>>,
    /// The MeshConfig; empty where there is no such kind or object.
    pub mesh_configs: Known<Vec<MeshConfig>>,
    /// Every AccessPolicy; empty where there is no such kind.
    pub access_policies: Known<Vec<AccessPolicy>>,
    /// What the controller answered.
    pub controller: Known<Controller>,
    /// What the agents answered.
    pub agents: Known<Vec<Agent>>,
}

/// What the controller that serves the agents answered.
#[derive(Debug, Clone)]
pub struct Controller {
    /// `GET /status`.
    pub status: Answered<StatusReport>,
    /// `GET /ca`.
    pub ca: Answered<CaReport>,
}

/// What a node's agent answered.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The node.
    pub node: String,
    /// `GET /status`.
    pub status: Answered<AgentStatus>,
    /// `GET /check`.
    pub features: Answered<Vec<Feature>>,
}

/// An agent's `GET /status`, as far as checks need it.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentStatus {
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// Whether it is in order.
    pub ready: bool,
    /// Why it is not.
    pub unready: Vec<String>,
    /// Its stream from the controller.
    pub discovery: Discovery,
    /// The kernel's part.
    pub wire: Wire,
    /// The generation of the MeshConfig that it holds.
    pub mesh_config_generation: i64,
}

/// An agent's stream from the controller.
#[derive(Debug, Clone, Deserialize)]
pub struct Discovery {
    /// Whether it is there.
    pub connected: bool,
    /// Whether all has come.
    pub complete: bool,
}

/// What the kernel has.
#[derive(Debug, Clone, Deserialize)]
pub struct Wire {
    /// Everything that was told.
    pub programmed: bool,
}

/// A feature of a node's kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Feature {
    /// What it is called.
    pub name: String,
    /// The kernel that has it first.
    pub since: String,
    /// Whether this one has it.
    pub present: bool,
    /// Whether the agent needs it; only an agent of this version or a later one says so.
    #[serde(default = "yes")]
    pub needed: bool,
    /// What for, or what was tried.
    pub detail: String,
}

const fn yes() -> bool {
    true
}

/// Labels or annotations of an object.
pub(super) type Labels = BTreeMap<String, String>;

/// `NAMESPACE/NAME`, or the name of what has no namespace.
pub(super) fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    match metadata.namespace.as_deref() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// Whether labels have all of these.
pub(super) fn has_all(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}
