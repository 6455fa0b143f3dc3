//! Pods and namespaces as YAML, in the words that matter to a test.

use super::{NAMESPACE, NODE};

/// A namespace whose pods are in the mesh unless they say otherwise.
pub(crate) fn enrolled_namespace(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{\"mesh.internal/mode\": enabled}}}}\n"
    )
}

/// A namespace whose pods are not.
pub(crate) fn plain_namespace(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

/// A pod of the scene's namespace and node, with its name as label `app` and as service account.
pub(crate) fn pod(name: &str, command: &[&str]) -> String {
    pod_with(NAMESPACE, name, "", "", command)
}

/// A pod that stays out of the mesh.
pub(crate) fn plain_pod(name: &str, command: &[&str]) -> String {
    pod_with(NAMESPACE, name, ", \"mesh.internal/mode\": disabled", "", command)
}

/// A pod with more labels (`, key: value`) and more of a spec (`, field: value`).
pub(crate) fn pod_with(namespace: &str, name: &str, labels: &str, spec: &str, command: &[&str]) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}{labels}}}}}\n\
         spec: {{nodeName: {NODE}, serviceAccountName: {name}, terminationGracePeriodSeconds: 0{spec}, \
         containers: [{{name: main, command: {command:?}}}]}}\n"
    )
}

/// What a pod runs that only has commands run in it.
pub(crate) const IDLE: &[&str] = &["sleep", "infinity"];

/// What a pod runs that serves TCP and UDP on port 7000.
pub(crate) const SERVE: &[&str] = &["mesh-forge", "serve", "7000"];

/// An AccessPolicy of the scene's namespace about the pod of that name; `rules` is its `ingress` or `egress`.
pub(crate) fn policy(pod: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
         metadata: {{name: {pod}, namespace: {NAMESPACE}}}\n\
         spec: {{selector: {{matchLabels: {{app: {pod}}}}}, {rules}}}\n"
    )
}
