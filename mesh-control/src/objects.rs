//! The objects that the model is built from, as a source hands them over.

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    node::v1::RuntimeClass,
};
use mesh_api::{condition::Condition, crd::StatusCondition};
use serde_json::Value;

/// The name of an object among those of its kind. The namespace is empty for cluster scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace, or empty.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectName {
    /// The name of a namespaced object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name of an object of cluster scope.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What a status is about: an object, or (kind `File`) a file of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The `apiVersion`; empty for a file.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: ObjectName,
}

impl ObjectRef {
    /// One of the mesh's own kinds.
    #[must_use]
    pub fn mesh(kind: &str, name: ObjectName) -> Self {
        Self { api_version: mesh_api::labels::API_VERSION.to_owned(), kind: kind.to_owned(), name }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Conditions by what they are about.
pub type Conditions = BTreeMap<ObjectRef, Vec<Condition>>;

/// The conditions that an object's status has at the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed(pub Vec<StatusCondition>);

impl Observed {
    /// Those in an object's `status`. What is no condition is not among them.
    #[must_use]
    pub fn of(status: Option<&Value>) -> Self {
        let conditions = status.and_then(|status| status.get("conditions")?.as_array());
        let read = |condition: &Value| serde_json::from_value(condition.clone()).ok();
        Self(conditions.into_iter().flatten().filter_map(read).collect())
    }
}

/// An object of one of the mesh's own kinds, its spec still unread: reading it is part of the
/// build, because what an invalid part means (fail closed) is decided there.
#[derive(Debug, Clone, PartialEq)]
pub struct Custom {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.generation`, or the source's own count of changes of the spec.
    pub generation: i64,
    /// The spec as it was written; null where there is none.
    pub spec: Value,
    /// Top-level fields that no object has, such as a misspelt `spec`.
    pub unknown_fields: Vec<String>,
}

/// The parts of a Secret that a certificate authority is made of, as they were written: of Secrets
/// without them, and of every other part, nothing is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CaSecret {
    /// In base64.
    pub data: BTreeMap<String, String>,
    /// Plain.
    pub string_data: BTreeMap<String, String>,
}

impl fmt::Debug for CaSecret {
    /// Without what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaSecret").finish_non_exhaustive()
    }
}

/// Every object that the build reads. Values are shared, so that a changed set costs little and
/// unchanged objects are recognised by pointer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Namespaces.
    pub namespaces: BTreeMap<ObjectName, Arc<Namespace>>,
    /// Service accounts.
    pub service_accounts: BTreeMap<ObjectName, Arc<ServiceAccount>>,
    /// Nodes.
    pub nodes: BTreeMap<ObjectName, Arc<Node>>,
    /// Runtime classes.
    pub runtime_classes: BTreeMap<ObjectName, Arc<RuntimeClass>>,
    /// Pods.
    pub pods: BTreeMap<ObjectName, Arc<Pod>>,
    /// Services.
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    /// Endpoint slices.
    pub endpoint_slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// The slices are all there is behind Services, those with a selector too: a controller writes
    /// them. Where none does, a selector is looked up in the pods.
    pub slices_complete: bool,
    /// The Secret that the mesh configuration's `spec.ca.secretRef` names, and no other.
    pub ca_secrets: BTreeMap<ObjectName, Arc<CaSecret>>,
    /// Mesh configurations; only the one named `default` counts.
    pub mesh_configs: BTreeMap<ObjectName, Arc<Custom>>,
    /// Access policies.
    pub access_policies: BTreeMap<ObjectName, Arc<Custom>>,
    /// Cluster access policies.
    pub cluster_access_policies: BTreeMap<ObjectName, Arc<Custom>>,
}
