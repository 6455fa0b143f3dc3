//! SEMANTICS 2, 4 and 5 on the real kernel: who is proven, what mTLS modes ask for, and how policies decide.
//!
//! One testbed of two nodes for the whole file; each test adds a file of manifests with namespaces of its own.

#[path = "policy/audit.rs"]
mod audit;
#[path = "policy/change.rs"]
mod change;
#[path = "policy/egress.rs"]
mod egress;
#[path = "policy/explain.rs"]
mod explain;
#[path = "policy/identity.rs"]
mod identity;
#[path = "policy/invalid.rs"]
mod invalid;
#[path = "policy/mtls.rs"]
mod mtls;
#[path = "policy/order.rs"]
mod order;
#[path = "policy/peers.rs"]
mod peers;
#[path = "policy/selection.rs"]
mod selection;

use std::sync::OnceLock;

use mesh_tests::trial::Trial;

/// Namespaces with defaults of their own are listed here, because there is one MeshConfig.
const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec:
  defaults: {access: Allow, egress: {access: Allow, allowDNS: true}, mtls: Preferred, encryption: Auto}
  namespaces:
  - {names: [floor, floor-udp], mtls: Required}
  - {names: [always], encryption: Always}
  - {names: [closed], access: Deny}
  - {names: [no-way-out], egress: {access: Deny}}
  - {names: [no-names], egress: {allowDNS: false}}
  telemetry: {accessLog: {format: JSON, level: Denied}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

/// The testbed of this file.
fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    SHARED.get_or_init(|| Trial::start("policy", CLUSTER))
}

/// An `AccessPolicy` with this spec.
fn access(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// A `ClusterAccessPolicy` with this spec.
fn cluster_access(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: ClusterAccessPolicy\n\
         metadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// The subject of every pod of one namespace.
fn all_of(namespace: &str) -> String {
    format!("subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}")
}
