//! SEMANTICS 3 on the real kernel: what the kubelet may do that nobody else may.
//!
//! Everything here lives under `access: Deny` without a rule.

#[path = "probes/dead_agent.rs"]
mod dead_agent;
#[path = "probes/origin.rs"]
mod origin;
#[path = "probes/ways.rs"]
mod ways;

use std::sync::OnceLock;

use mesh_tests::trial::Trial;

const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {defaults: {access: Deny, mtls: Required}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

/// The testbed of this file.
fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    SHARED.get_or_init(|| Trial::start("probes", CLUSTER))
}

/// How many probes the kernel let through on a node.
fn passed(node: &str) -> f64 {
    cluster().metric(node, "mesh_kernel_probes_passed_total", &[])
}
