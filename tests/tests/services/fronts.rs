//! SEMANTICS 6.1: the addresses and ports that a Service is reached at.

use std::net::SocketAddr;

use mesh_tests::trial::{Expect::Answer, Trial, echo};
use serde_yaml_ng::Value;

use super::{cluster, service};

/// What the kernel says of the client's connection: a translated one goes to the endpoint, whatever was dialled.
fn connected_to(cluster: &Trial, client: &str, target: SocketAddr) -> Vec<String> {
    let held = cluster.hold(client, target, std::time::Duration::from_millis(50));
    let sockets = cluster.run_in(client, &["ss", "-Htn", "state", "established"]);
    held.is_open();
    let peers = sockets.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned);
    peers.collect()
}

/// SEMANTICS 6.1: externalIPs and load-balancer addresses of mode VIP are frontends; the socket goes to the endpoint.
#[test]
fn external_and_load_balancer_addresses_are_frontends() {
    let cluster = cluster();
    let spec = "type: LoadBalancer, selector: {app: server}, ports: [{port: 80, targetPort: 8080}], externalIPs: [198.51.100.7, '2001:db8::7']";
    let web = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: external}}, spec: {{{spec}}},
           status: {{loadBalancer: {{ingress: [{{ip: 198.51.100.8}}, {{ip: 198.51.100.9, ipMode: VIP}}]}}}}}}"
    );
    cluster.put_all("external", &[&echo("external", "server"), &echo("external", "client"), &web]);
    let endpoints = cluster.pod("external/server").addresses;
    for address in ["198.51.100.7:80", "[2001:db8::7]:80", "198.51.100.8:80", "198.51.100.9:80"] {
        cluster.expect(&[("external/client", address, Answer)]);
        let target: SocketAddr = address.parse().unwrap();
        let answer = cluster.tcp("external/client", target);
        assert_eq!(answer.answer().peer, target, "the client sees what it dialled");
        let peers = connected_to(cluster, "external/client", target);
        let direct = endpoints.iter().any(|ip| peers.contains(&SocketAddr::new(*ip, 8080).to_string()));
        assert!(direct, "no socket goes to the endpoint: {peers:?}");
    }
}

/// SEMANTICS 6.1: a node port at every node's address, from a pod in the mesh.
#[test]
fn node_ports_are_reached_at_every_node() {
    let cluster = cluster();
    let web = service(
        "nodeport",
        "web",
        "type: NodePort, selector: {app: server}, ports: [{port: 80, targetPort: 8080}]",
    );
    cluster.put_all("nodeport", &[&echo("nodeport", "server"), &echo("nodeport", "client"), &web]);
    let port = mesh_tests::trial::eventually("a node port", mesh_tests::socket::plaza::SOON, || {
        let spec = cluster.service_spec("nodeport/web")?;
        let port = spec
            .get("ports")
            .and_then(Value::as_sequence)?
            .first()?
            .get("nodePort")
            .and_then(Value::as_u64)?;
        u16::try_from(port).ok()
    });
    for node in ["node-1", "node-2"] {
        for ip in cluster.node_addresses(node) {
            let address = SocketAddr::new(ip, port);
            cluster.expect(&[("nodeport/client", &address.to_string(), Answer)]);
            assert_eq!(cluster.tcp("nodeport/client", address).answer().peer, address);
        }
    }
}

/// SEMANTICS 6.1: several ports, each with its own target, TCP and UDP at one number.
#[test]
fn several_ports_of_both_protocols() {
    let cluster = cluster();
    let ports = "[{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 8081}, {name: u, port: 80, targetPort: 5300, protocol: UDP}]";
    let web = service("ports", "web", &format!("selector: {{app: server}}, ports: {ports}"));
    let server = echo("ports", "server").serve("--tcp 8081 --udp 5300");
    cluster.put_all("ports", &[&server, &echo("ports", "client"), &web]);
    cluster.expect(&[
        ("ports/client", "svc/ports/web:80", Answer),
        ("ports/client", "svc/ports/web:81", Answer),
        ("ports/client", "udp svc/ports/web:80", Answer),
    ]);
    for address in cluster.service("ports/web", 80) {
        let outcome = cluster.udp("ports/client", address);
        let answer = outcome.answer();
        assert_eq!(answer.peer, address, "{answer:?}");
        assert_eq!(answer.word("peer").parse::<SocketAddr>().unwrap().ip(), answer.local.ip(), "{answer:?}");
    }
    for (port, target) in [(80, 8080), (81, 8081)] {
        let address = cluster.service("ports/web", port)[0];
        let outcome = cluster.tcp("ports/client", address);
        let local: SocketAddr = outcome.answer().word("local").parse().unwrap();
        assert_eq!(local.port(), target);
    }
}

/// SEMANTICS 6.1: a Service that another proxy serves (`service-proxy-name`) is left to it.
#[test]
fn a_service_of_another_proxy_is_left_alone() {
    let cluster = cluster();
    let spec = "spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}";
    let other = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: other, namespace: proxy, labels: {{service.kubernetes.io/service-proxy-name: other}}}}, {spec}}}"
    );
    let ours =
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: ours, namespace: proxy}}, {spec}}}");
    cluster.put_all("proxy", &[&echo("proxy", "server"), &echo("proxy", "client"), &other, &ours]);
    cluster.expect(&[
        ("proxy/client", "svc/proxy/ours:80", Answer),
        ("proxy/client", "svc/proxy/other:80", Answer),
    ]);
    for (name, translated) in [("proxy/ours", true), ("proxy/other", false)] {
        for target in cluster.service(name, 80) {
            let peers = connected_to(cluster, "proxy/client", target);
            assert_eq!(!peers.contains(&target.to_string()), translated, "{name} {target}: {peers:?}");
        }
    }
}
