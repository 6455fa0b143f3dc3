//! While the API server is restarted the mesh goes on.

use std::{thread, time::Duration};

use mesh_tests::cluster::trial::until;
use nix::sys::signal::{Signal, kill};

use crate::{
    scene::{Scene, mesh},
    traffic::Traffic,
};

const PAIR: &str = include_str!("pair.yaml");

fn pair(name: &str) -> (Scene, [Traffic; 2]) {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Required}}");
    let scene = mesh.scene(name, &PAIR.replace("NAMESPACE", name));
    for pod in ["pod/client", "pod/server"] {
        scene.wait_enrolled(pod);
    }
    let traffic = ["-4", "-6"].map(|family| Traffic::start(&scene, "client", family, "server:9000"));
    (scene, traffic)
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn the_api_server_is_restarted_under_traffic_and_nothing_fails() {
    let (scene, mut traffic) = pair("away");
    let before = traffic.each_mut().map(Traffic::count);
    let process = || scene.mesh.cluster.process("control", "kube-apiserver", &[]);
    let old = process().expect("an API server");
    kill(old, Signal::SIGKILL).expect("it is ours to end");
    until("another API server", || match process() {
        Some(now) if now != old => Ok(()),
        other => Err(format!("{other:?}")),
    });
    until("it to answer", || scene.mesh.try_ask(&["get", "--raw=/readyz"]).map(drop));
    // What changes afterwards arrives as before.
    until("a label to be taken", || {
        let label = ["--namespace", &scene.namespace, "label", "pod", "server", "after=restart"];
        scene.mesh.try_ask(&label).map(drop)
    });
    let policy = format!(
        "{{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {{name: after, namespace: {}}}, spec: \
         {{selector: {{matchLabels: {{after: restart}}}}, ingress: [{{name: all}}]}}}}",
        scene.namespace
    );
    until("a policy to be taken", || {
        scene.mesh.cluster.kubectl().apply(&policy).map_err(|error| error.to_string())
    });
    scene.wait("accesspolicy/after", "condition=Programmed");
    thread::sleep(Duration::from_secs(1));
    for (traffic, before) in traffic.iter_mut().zip(before) {
        let after = traffic.count();
        println!(
            "{} new connections, {} failed, {} broke",
            after.connections - before.connections,
            after.failed - before.failed,
            after.broken - before.broken
        );
        assert!(after.connections > before.connections);
        assert_eq!((after.failed, after.broken), (before.failed, before.broken), "{}", after.failures);
    }
}
