//! What comes from outside the cluster: NodePort, LoadBalancer and hostPort traffic, which kube-proxy and the CNI
//! plugin forward. It is never proven, so it comes in exactly where no proof is asked for.

use std::process::Command;

use crate::scene::{Scene, mesh, program, run, until};

const OUTSIDE: &str = include_str!("outside.yaml");

/// An address that no node has, which the cluster's load balancer is said to have.
const BALANCER: [&str; 2] = ["10.216.253.10", "fd6d:6573:68c8:fffd::10"];

/// A call from this machine, which is outside.
fn call(family: &str, to: &str) -> Result<String, String> {
    let output = program("mesh-echo").args(["client", family, "--timeout=2000", "tcp", to]).output();
    let output = output.expect("mesh-echo runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The addresses of a node.
fn node(scene: &Scene, name: &str) -> Vec<String> {
    let said = scene.mesh.ask(&[
        "get",
        "node",
        name,
        "--output=jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}",
    ]);
    said.split_whitespace().map(str::to_owned).collect()
}

fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn family(address: &str) -> &'static str {
    if address.contains(':') { "-6" } else { "-4" }
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn traffic_from_outside_comes_in_where_no_proof_is_asked_for() {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Preferred}}");
    let scene = mesh.scene("outside", OUTSIDE);
    scene.wait_enrolled("pod/open");
    scene.wait_enrolled("pod/closed");

    let nodes = [node(&scene, "node-1"), node(&scene, "node-2")];
    for address in nodes.iter().flatten() {
        let family = family(address);
        let open = at(address, 30900);
        let said = until(&format!("NodePort {open}"), || call(family, &open));
        assert!(said.contains("host=open"), "{said}");
        let closed = call(family, &at(address, 30901)).expect_err("not proven");
        assert!(
            closed.contains("ECONNREFUSED") || closed.contains("ECONNRESET"),
            "NodePort closed: {closed}"
        );
    }

    // hostPort is the node's of the pod.
    for address in &nodes[0] {
        let said = until("hostPort", || call(family(address), &at(address, 30902)));
        assert!(said.contains("host=open"), "{said}");
    }
    for address in &nodes[1] {
        let closed = call(family(address), &at(address, 30903)).expect_err("not proven");
        assert!(
            closed.contains("ECONNREFUSED") || closed.contains("ECONNRESET"),
            "hostPort closed: {closed}"
        );
    }

    // A load balancer sends to any node; here to the one that does not have the pod.
    let ingress = BALANCER.map(|address| format!("{{\"ip\": \"{address}\"}}")).join(", ");
    let patch = format!("{{\"status\": {{\"loadBalancer\": {{\"ingress\": [{ingress}]}}}}}}");
    scene.ask(&["patch", "service", "open", "--subresource=status", "--type=merge", "--patch", &patch]);
    for (number, address) in BALANCER.into_iter().enumerate() {
        let via = &nodes[1][number];
        let mut route = Command::new("nsenter");
        route.arg(format!("--net={}", mesh.cluster.fabric().display()));
        run(route.args(["ip", family(address), "route", "replace", address, "via", via]));
        let said = until(&format!("LoadBalancer {address}"), || call(family(address), &at(address, 9000)));
        assert!(said.contains("host=open"), "{said}");
    }

    // From inside, the same addresses lead there too, and the client's name is proven all the same.
    for address in nodes.iter().flatten() {
        let to = at(address, 30901);
        scene.answered("open", &["mesh-echo", "client", family(address), "tcp", &to]);
    }
    for address in BALANCER {
        let to = at(address, 9000);
        scene.answered("closed", &["mesh-echo", "client", family(address), "tcp", &to]);
    }
}
