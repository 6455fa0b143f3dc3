//! The tunnel between two nodes on the real kernel (SEMANTICS 4 and 7): what applications see of it, which is
//! nothing, and what is on the wire, which is nothing of theirs.
//!
//! One testbed of two nodes for the whole file; each test adds a file of manifests with pods of its own.

mod always;
mod bulk;
mod crowd;
mod ending;
mod memory;
mod modes;
mod policy;
mod ports;
mod slow;
mod transparent;
mod unpublished;

use std::{sync::OnceLock, time::Duration};

use mesh_tests::{socket::plaza, trial::Trial};

/// Where clients are.
const NEAR: &str = "node-1";
/// Where servers are.
const FAR: &str = "node-2";

/// Longest wait for what should happen at once, on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(30);

const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec:
  namespaces: [{names: [always], encryption: Always}, {names: [required], mtls: Required}]
  telemetry: {accessLog: {format: JSON, level: All}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: sock}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

/// The testbed of this file.
fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    SHARED.get_or_init(|| Trial::start("tunnel", CLUSTER))
}

/// What a server runs: TCP at 7000, with IPv4 only at 7004, and at 7001 it speaks first.
const SERVE: &str = "exec mesh-socket serve --tcp 7000 --tcp4 7004 --greet 7001";

/// An enrolled pod on a node that runs this.
fn pod(name: &str, node: &str, shell: &str) -> String {
    plaza::pod(name, shell).replacen("nodeName: node-1", &format!("nodeName: {node}"), 1)
}

/// A pair of pods, `NAME-client` here and `NAME-server` there, and a Service of the server's name.
fn pair(name: &str, serve: &str) -> String {
    let (client, server) = (format!("{name}-client"), format!("{name}-server"));
    pod(&client, NEAR, "exec sleep infinity")
        + &pod(&server, FAR, serve)
        + &plaza::service(&server, &server, &[(7000, "TCP"), (7001, "TCP")])
}

/// Puts a pair up and waits until it can be talked to by Service and by address, each through the tunnel.
fn put_pair(name: &str, more: &str) -> &'static Trial {
    let cluster = cluster();
    cluster.put(name, pair(name, SERVE) + more);
    plaza::wait_endpoints(cluster, &format!("{name}-client"), &format!("{name}-server"), 7000, "TCP");
    for route in plaza::routes(cluster, &format!("{name}-server"), 7000) {
        mesh_tests::trial::eventually(&format!("{route:?} answers"), SOON, || {
            let said = cluster.socket(&format!("sock/{name}-client"), &format!("connect {}", route.words()));
            (said.get("answer") == Some("ok")).then_some(())
        });
        let said = tunnelled(1, || {
            cluster.socket(&format!("sock/{name}-client"), &format!("connect {}", route.words()))
        });
        assert_eq!(said.get("answer"), Some("ok"), "{route:?}: {}", said.text());
    }
    cluster
}

/// Does something that makes so many connections between the nodes, and waits until both count as many through the
/// tunnel: in the clear it would have worked as well.
fn tunnelled<T>(connections: u32, work: impl FnOnce() -> T) -> T {
    counted("mesh_tunnel_connections_established_total", f64::from(connections), work)
}

/// Does something that moves so many bytes between the nodes, and waits until both count as many through the tunnel.
fn carried<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
    counted("mesh_tunnel_carried_bytes_total", bytes as f64, work)
}

fn counted<T>(metric: &str, more: f64, work: impl FnOnce() -> T) -> T {
    let count = |node| cluster().metric(node, metric, &[]);
    let before = [NEAR, FAR].map(|node| (node, count(node)));
    let done = work();
    for (node, before) in before {
        mesh_tests::trial::eventually(&format!("{metric} of {node} grows by {more}"), SOON, || {
            (count(node) >= before + more).then_some(())
        });
    }
    done
}
