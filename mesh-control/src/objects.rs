//! The objects that the model is built from, as a source hands them over.

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    node::v1::RuntimeClass,
};
use mesh_api::{condition::Condition, crd::StatusCondition};
use serde_json::{Map, Value};

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

/// What a route's status says of its parents, of every controller's, as of a version of the route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parents {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `status.parents` as it is.
    pub entries: Vec<Value>,
}

impl Parents {
    /// Those of an object.
    #[must_use]
    pub fn of(object: &Map<String, Value>) -> Self {
        let version = object.get("metadata").and_then(|metadata| metadata.get("resourceVersion")?.as_str());
        let entries = object.get("status").and_then(|status| status.get("parents")?.as_array());
        Self {
            version: version.unwrap_or_default().to_owned(),
            entries: entries.cloned().unwrap_or_default(),
        }
    }
}

/// An object whose spec is still unread, of one of the mesh's own kinds: reading it is part of the
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

/// The kinds of routes, as the Gateway API has them, and the order in which they go before each other on a
/// port (GEP-1294, section "Route types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// gRPC calls.
    Grpc,
    /// HTTP requests.
    Http,
    /// TLS connections, by the server name that is asked for.
    Tls,
    /// TCP connections.
    Tcp,
    /// UDP.
    Udp,
}

impl RouteKind {
    /// Every kind, the first first.
    pub const ALL: [Self; 5] = [Self::Grpc, Self::Http, Self::Tls, Self::Tcp, Self::Udp];
    /// Their API group.
    pub const GROUP: &str = "gateway.networking.k8s.io";

    /// As objects write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The versions in which it is read, the best first: those that differ in nothing that is read.
    #[must_use]
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Grpc => &["gateway.networking.k8s.io/v1"],
            Self::Http => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"],
            Self::Tls => &[
                "gateway.networking.k8s.io/v1",
                "gateway.networking.k8s.io/v1alpha3",
                "gateway.networking.k8s.io/v1alpha2",
            ],
            Self::Tcp | Self::Udp => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"],
        }
    }
}

/// The versions in which BackendTLSPolicies are read, the best first.
pub const BACKEND_TLS_VERSIONS: &[&str] =
    &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3"];

/// The version in which XMeshes are read.
pub const XMESH_VERSION: &str = "gateway.networking.x-k8s.io/v1alpha1";

/// What the mesh is called in objects of the Gateway API: the `controllerName` of an XMesh, and of what is said of routes.
pub const CONTROLLER: &str = "mesh.internal/controller";

/// A route's kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// The kind.
    pub kind: RouteKind,
    /// The name among those of its kind.
    pub name: ObjectName,
}

impl RouteName {
    /// The route that a status is about, if it is about one.
    #[must_use]
    pub fn of(reference: &ObjectRef) -> Option<Self> {
        let kind = RouteKind::of(&reference.kind)?;
        let known = kind.api_versions().contains(&reference.api_version.as_str());
        known.then(|| Self { kind, name: reference.name.clone() })
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

/// A route of the Gateway API, its spec still unread.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What a status about it is about.
    pub reference: ObjectRef,
    /// `metadata.creationTimestamp` (RFC 3339, UTC); empty where the source has none.
    pub created: String,
    /// What was written.
    pub written: Custom,
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
    /// Routes of the Gateway API.
    pub routes: BTreeMap<RouteName, Arc<Route>>,
    /// BackendTLSPolicies of the Gateway API.
    pub backend_tls_policies: BTreeMap<ObjectName, Arc<Custom>>,
    /// XMeshes of the Gateway API, of every controller.
    pub x_meshes: BTreeMap<ObjectName, Arc<Custom>>,
}
