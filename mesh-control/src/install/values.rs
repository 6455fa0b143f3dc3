//! What can be chosen at installation: the values of the chart, as types.
//!
//! Their defaults and what they are for stand in `deploy/chart/values.yaml`; `values.schema.json` beside it is generated
//! from here, so that Helm refuses what `meshctl install` refuses.

use std::collections::BTreeMap;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every value of the chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Values {
    /// Where the images come from.
    pub images: Images,
    /// The namespace that everything is in.
    pub namespace: Namespace,
    /// The custom resource definitions.
    pub crds: Definitions,
    /// Where things are on the nodes.
    pub node: NodePaths,
    /// The agent of each node.
    pub agent: Agent,
    /// The controller.
    pub controller: Controller,
    /// What people may.
    pub rights: Rights,
    /// What the API server itself refuses.
    pub admission: Admission,
    /// Whether every node is taken out of the mesh.
    pub uninstall: bool,
}

/// Where the images come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Images {
    /// What stands before `/mesh-agent` and `/mesh-control`.
    #[schemars(length(min = 1))]
    pub repository: String,
    /// The tag; the chart's version where it is empty.
    pub tag: String,
    /// When nodes pull.
    pub pull_policy: PullPolicy,
    /// Secrets for pulling.
    pub pull_secrets: Vec<SecretName>,
}

/// When nodes pull images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// Where they do not have it.
    IfNotPresent,
    /// Somebody else brings them.
    Never,
}

/// A Secret of the namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// The namespace that everything is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespace {
    /// Whether it is among the objects.
    pub create: bool,
}

/// The custom resource definitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definitions {
    /// Whether they are among the objects.
    pub install: bool,
    /// Whether they stay when the mesh goes.
    pub keep: bool,
}

/// Where things are on the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePaths {
    /// The cgroup2 hierarchy.
    #[schemars(regex(pattern = r"^/[^:]+$"))]
    pub cgroup2: String,
    /// The bpf file system.
    #[schemars(regex(pattern = r"^/[^:]+$"))]
    pub bpffs: String,
    /// The agent's run directory.
    #[schemars(regex(pattern = r"^/[^:]+$"))]
    pub run: String,
}

/// The agent of each node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agent {
    /// Labels of the nodes that get one.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that it runs on all the same.
    pub tolerations: Vec<Toleration>,
    /// How many nodes, or which share, have a second one at a time during an upgrade.
    pub max_surge: NumberOrShare,
    /// How long open connections may take to finish when it ends.
    #[schemars(range(max = 3600))]
    pub drain_seconds: u32,
    /// Threads that carry the tunnel's bytes; one for each processor where it is null.
    #[schemars(range(min = 1))]
    pub workers: Option<u16>,
    /// Where `/metrics` and `/ready` are served.
    #[schemars(length(min = 1))]
    pub metrics: String,
    /// How old the last state may become before that is told.
    #[schemars(length(min = 2), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub max_snapshot_age: String,
    /// What it logs.
    #[schemars(length(min = 1))]
    pub log: String,
    /// Further directories whose children are pods.
    pub pods_roots: Vec<String>,
    /// Interfaces that lead to other nodes.
    pub uplinks: Vec<String>,
    /// The type that SELinux gives the pod.
    pub se_linux_type: String,
    /// What its containers get of the node.
    pub resources: AgentResources,
}

/// What the agent's containers get of the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentResources {
    /// Of wire.
    pub wire: Resources,
    /// Of relay.
    pub relay: Resources,
}

/// The controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Controller {
    /// How many.
    #[schemars(range(min = 1, max = 16))]
    pub replicas: u8,
    /// Labels of the nodes that it runs on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that it runs on all the same.
    pub tolerations: Vec<Toleration>,
    /// The address it listens at.
    #[schemars(length(min = 1))]
    pub address: String,
    /// The Secret with a certificate authority that is given.
    pub ca_secret: CaSecret,
    /// What it logs.
    #[schemars(length(min = 1))]
    pub log: String,
    /// What its container gets of the node.
    pub resources: Resources,
}

/// The Secret that the controller may read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaSecret {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its namespace; the controller's own where it is empty.
    pub namespace: String,
}

/// What people may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rights {
    /// Whether the cluster's own roles get rights on the mesh's kinds.
    pub aggregate: bool,
}

/// What the API server itself refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admission {
    /// Whether it does.
    pub enabled: bool,
}

/// A taint that is tolerated, as pods have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// The taint's key; every key where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Exists` or `Equal`; Equal where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The taint's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The taint's effect; every effect where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// For how long, with `NoExecute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The key is enough.
    Exists,
    /// The value must be the same.
    Equal,
}

/// What a container gets of the node, as pods have it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What is kept for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What it cannot exceed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// An amount, such as `100m` or `64Mi`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Quantity {
    /// A whole number.
    Number(u64),
    /// With a unit.
    Text(String),
}

/// A number, or a share such as `10%`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NumberOrShare {
    /// So many; at least one, or nothing could ever be replaced.
    Number(#[schemars(range(min = 1))] u32),
    /// That share.
    Share(#[schemars(regex(pattern = r"^([1-9][0-9]?|100)%$"))] String),
}

/// Why values are refused.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// One has another shape, or is none of ours.
    #[error("{path}: {problem}; every value is in deploy/chart/values.yaml")]
    Shape {
        /// Which.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It has a shape that is right, and nothing that could be rendered.
    #[error("{path}: `{value}`: {problem}")]
    Value {
        /// Which.
        path: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Values {
    /// Reads them, whole: the defaults with the user's laid over them.
    ///
    /// # Errors
    /// When one is missing, unknown, or of another kind; it is named with its path.
    pub fn read(values: &Value) -> Result<Self, ValuesError> {
        let read: Self = serde_path_to_error::deserialize(values).map_err(|error| ValuesError::Shape {
            path: error.path().to_string(),
            problem: error.inner().to_string(),
        })?;
        read.check()?;
        Ok(read)
    }

    /// What a type does not say; the schema says the same by ranges and patterns.
    fn check(&self) -> Result<(), ValuesError> {
        let refuse = |path, value: &dyn ToString, problem| {
            Err(ValuesError::Value { path, value: value.to_string(), problem })
        };
        for (path, directory) in [
            ("node.cgroup2", &self.node.cgroup2),
            ("node.bpffs", &self.node.bpffs),
            ("node.run", &self.node.run),
        ] {
            if !directory.starts_with('/') || directory.len() < 2 || directory.contains(':') {
                return refuse(path, directory, "write an absolute path of the node other than /");
            }
        }
        for (path, text) in [
            ("images.repository", &self.images.repository),
            ("agent.metrics", &self.agent.metrics),
            ("agent.log", &self.agent.log),
            ("controller.address", &self.controller.address),
            ("controller.caSecret.name", &self.controller.ca_secret.name),
            ("controller.log", &self.controller.log),
        ] {
            if text.is_empty() {
                return refuse(path, text, "must not be empty; leave it out for the default");
            }
        }
        if mesh_api::duration::argument(&self.agent.max_snapshot_age).is_err() {
            let problem = "write a duration such as 24h or 30m";
            return refuse("agent.maxSnapshotAge", &self.agent.max_snapshot_age, problem);
        }
        if self.agent.drain_seconds > 3600 {
            return refuse("agent.drainSeconds", &self.agent.drain_seconds, "at most 3600");
        }
        if self.agent.workers == Some(0) {
            return refuse("agent.workers", &0, "at least 1; null for one for each processor");
        }
        if !(1..=16).contains(&self.controller.replicas) {
            return refuse("controller.replicas", &self.controller.replicas, "1 to 16");
        }
        match &self.agent.max_surge {
            NumberOrShare::Number(0) => refuse("agent.maxSurge", &0, "at least 1"),
            NumberOrShare::Share(text) if !is_share(text) => {
                refuse("agent.maxSurge", text, "write a number, or a share from 1% to 100%")
            }
            _ => Ok(()),
        }
    }
}

fn is_share(text: &str) -> bool {
    let number = text.strip_suffix('%').filter(|digits| !digits.starts_with(['0', '+']));
    number.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|share| (1..=100).contains(&share))
}

/// The JSON schema of the values, in the draft that every Helm reads.
pub(super) fn schema() -> Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<Values>().to_value()
}
