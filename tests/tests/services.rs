//! SEMANTICS 6 on the real kernel: which endpoint a connection gets, and what becomes of it when endpoints come and go.
//!
//! One testbed of two nodes in two zones for the whole file; each test adds a namespace of its own.

#[path = "services/change.rs"]
mod change;
#[path = "services/fronts.rs"]
mod fronts;
#[path = "services/picks.rs"]
mod picks;
#[path = "services/slices.rs"]
mod slices;

use std::{collections::BTreeMap, sync::OnceLock};

use mesh_tests::{
    socket::plaza::SOON,
    trial::{Expect::Answer, Outcome, Trial, eventually},
};

const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {telemetry: {accessLog: {format: JSON, level: All}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {topology.kubernetes.io/zone: east}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2, labels: {topology.kubernetes.io/zone: west}}}
";

/// The testbed of this file.
fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    SHARED.get_or_init(|| Trial::start("services", CLUSTER))
}

/// A Service with these fields of its spec.
fn service(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}"
    )
}

/// How many calls each pod answered.
fn shares(hosts: &[String]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for host in hosts {
        *shares.entry(host.as_str()).or_default() += 1;
    }
    shares
}

/// Waits until exactly these answer at a Service, in both families.
fn expect_answering(namespace: &str, name: &str, expected: &[&str]) {
    let key = format!("{namespace}/{name}");
    cluster().expect(&[(&format!("{namespace}/client"), &format!("svc/{key}:80"), Answer)]);
    eventually(&format!("{expected:?} answer at {key}, and nobody else"), SOON, || {
        let mut hosts: Vec<String> = Vec::new();
        for address in cluster().service(&key, 80) {
            let outcomes =
                cluster().calls(&format!("{namespace}/client"), "tcp", address, &["--count", "40"]);
            for outcome in outcomes {
                match outcome {
                    Outcome::Answered(answer) => hosts.push(answer.host().to_owned()),
                    // The one that it picked has just gone.
                    Outcome::Failed(_) => return None,
                }
            }
        }
        shares(&hosts).into_keys().eq(expected.iter().copied()).then_some(())
    });
}
