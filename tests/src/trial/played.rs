//! Pods that are in the mesh for everybody and on whose node no agent runs: what runs in them plays the agent's part, or
//! another's.

/// Where no agent runs.
pub const PLAYED: &str = "node-3";

/// A pod of the namespace `played` in which this runs, with a service account of its own name.
#[must_use]
pub fn played(name: &str, shell: &str) -> String {
    played_as(name, name, shell)
}

/// The same with this service account.
#[must_use]
pub fn played_as(name: &str, account: &str, shell: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: played, labels: {{app: {name}}}}}\n\
         spec: {{nodeName: {PLAYED}, serviceAccountName: {account}, terminationGracePeriodSeconds: 0, \
         containers: [{{name: main, command: [sh, -c, {shell:?}]}}]}}\n"
    )
}
