//! The cluster as its user wrote it: a directory of ordinary Kubernetes YAML, read whole, checked, and turned into the
//! objects that the testbed acts on.

mod check;
mod error;
mod expand;
mod kind;
mod load;

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service},
    discovery::v1::EndpointSlice,
};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

pub use error::Error;
pub use load::Source;

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key of these two.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The file of this object in the run directory.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{}.yaml", self.namespace, self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (namespace, name) =
            text.split_once('/').ok_or_else(|| format!("{text:?} is not namespace/name"))?;
        Ok(Self::new(namespace, name))
    }
}

/// A pod to run, and what it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct PodManifest {
    /// The object.
    pub pod: Pod,
    /// Whether a controller of the testbed made it (from a Deployment, say), so that nobody else can read it in the
    /// directory.
    pub generated: bool,
}

/// Everything of the directory that the testbed acts on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifests {
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Pods, those of Deployments and the like included.
    pub pods: BTreeMap<Key, PodManifest>,
    /// Services.
    pub services: BTreeMap<Key, Service>,
    /// Hand-written slices.
    pub slices: BTreeMap<Key, EndpointSlice>,
    /// Sources of environment and volumes.
    pub config_maps: BTreeMap<Key, ConfigMap>,
    /// Sources of environment and volumes.
    pub secrets: BTreeMap<Key, Secret>,
    /// Kinds that are known and of which nothing is done here, for a notice.
    pub passed_over: Vec<String>,
}
