//! SEMANTICS 4.4: `encryption: Always` for the whole mesh, on one node, in a testbed of its own: what goes from one
//! pod to another there is as unreadable as between nodes.

use mesh_tests::{
    capture::{Capture, server_hellos},
    trial::{Trial, echo, eventually},
};

use serde_json::Value;

use super::{NEAR, SOON, modes::marker};

const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec:
  defaults: {encryption: Always}
  telemetry: {accessLog: {format: JSON, level: All}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: own}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
";

/// More than is sent while it is captured.
const LIMIT: usize = 64 << 20;

#[test]
fn for_the_whole_mesh_it_holds_on_a_single_node() {
    let cluster = Trial::start("always", CLUSTER);
    cluster
        .put_all("own", &[&echo("own", "client"), &echo("own", "server"), &echo("own", "outside").plain()]);
    let to = cluster.resolve("own/server:8080");
    for to in &to {
        let path = format!("/can?source=own/client&destination={}&port={}&protocol=tcp", to.ip(), to.port());
        eventually(&format!("{to} is to be dialled through the tunnel"), SOON, || {
            let said: Value = serde_json::from_str(&cluster.bed().admin(NEAR, &path).ok()?).ok()?;
            (said["endpoints"][0]["transport"] == "tunnel").then_some(())
        });
    }
    let established = || cluster.metric(NEAR, "mesh_tunnel_connections_established_total", &[]);
    let kernel = || cluster.metric(NEAR, "mesh_kernel_tunnelled_total", &[]);
    let (before, before_kernel) = (established(), kernel());
    let marker = marker("own");
    let capture = Capture::on_node(cluster.bed().layout(), NEAR, LIMIT).expect("the node can be captured on");
    for to in &to {
        let outcome = eventually(&format!("{to} answers"), SOON, || {
            let outcome = cluster.call("own/client", "tcp", to, &["--send", &marker]);
            matches!(outcome, mesh_tests::trial::Outcome::Answered(_)).then_some(outcome)
        });
        assert_eq!(outcome.answer().text, marker);
    }
    let captured = capture.end().expect("the capture ends");
    assert_eq!(captured.left_out, 0, "a capture with holes shows nothing");
    assert!(!captured.contains(marker.as_bytes()), "the marker is readable on the node's links");
    let hellos = server_hellos(&captured);
    let tunnel: Vec<_> = hellos.iter().filter(|hello| hello.port == 15_008).collect();
    assert!(!tunnel.is_empty(), "a handshake was captured: {hellos:?}");
    assert!(tunnel.iter().all(|hello| hello.version == Some(0x0304)), "{tunnel:?}");
    // Both ends are on this node: each connection counts twice.
    let connections = to.len() as f64;
    eventually("each is counted as tunnelled, at both ends", SOON, || {
        (established() >= before + 2.0 * connections && kernel() >= before_kernel + connections).then_some(())
    });

    // The same capture does show what goes in the clear.
    let capture = Capture::on_node(cluster.bed().layout(), NEAR, LIMIT).expect("the node can be captured on");
    let outcome = cluster.call("own/outside", "tcp", to[0], &["--send", &marker]);
    assert_eq!(outcome.answer().text, marker, "Preferred admits it");
    let captured = capture.end().expect("the capture ends");
    assert!(captured.contains(marker.as_bytes()), "plaintext is readable on the node's links");
}
