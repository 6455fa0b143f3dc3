//! The custom resources of the mesh (`mesh.internal/v1alpha1`), as their YAML is written.
//!
//! These types are the single source of the YAML's shape: the custom resource definitions are
//! generated from them ([`definitions`]) and the controller parses with them. Every map refuses
//! unknown fields. What a schema cannot say (one of two fields, no empty list) is a CEL rule
//! here and is checked once more by the controller, which in `dir:` mode has no API server
//! before it. [`mod@schema`] has the forms and bounds that several kinds share, [`definition`] what is done
//! to the generated whole.

#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
#[expect(clippy::duplicated_attributes, reason = "two printed columns have the same type")]
mod access_policy;
#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
#[expect(clippy::duplicated_attributes, reason = "two printed columns have the same type")]
mod cluster_access_policy;
mod definition;
#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
#[expect(clippy::duplicated_attributes, reason = "two printed columns have the same type")]
mod mesh_config;
#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
mod port;
#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
mod requests;
#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
mod rule;
mod schema;
#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of the type")]
mod selector;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use access_policy::{AccessPolicy, AccessPolicySpec, TargetRef};
pub use cluster_access_policy::{
    ClusterAccessPolicy, ClusterAccessPolicySpec, DEFAULT_PRIORITY, Subject, Tier,
};
pub use mesh_config::{
    Access, AccessLogDefaults, AccessLogFormat, AccessLogLevel, CertificateAuthority, Defaults,
    EgressDefaults, Encryption, Enrolment, MeshConfig, MeshConfigSpec, MtlsFloor, NamespaceDefaults,
    SecretRef, Telemetry, Tunnel, UnknownPods,
};
pub use port::{PortRef, PortRule, Protocol};
pub use requests::{GrpcRule, HeaderRule, HttpRule, PathRule};
pub use rule::{Action, Destination, EgressRule, IngressRule, Mode, Mtls, ServiceRef, Source};
pub use selector::{LabelSelector, Operator, Requirement};
pub use status::{Status, StatusCondition};

/// The custom resource definitions of every kind, ready to be written out as YAML.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let generated = [AccessPolicy::crd(), ClusterAccessPolicy::crd(), MeshConfig::crd()];
    generated.into_iter().map(definition::served).collect()
}

#[cfg(test)]
mod tests;
