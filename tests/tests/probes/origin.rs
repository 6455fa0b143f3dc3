//! SEMANTICS 3: who counts as a prober, and where.

use mesh_tests::trial::{
    Expect::{Answer, Refused},
    echo,
};

use super::cluster;

const PROBE: &str = "readinessProbe: {httpGet: {path: /healthz, port: 8090}, periodSeconds: 1}";

/// SEMANTICS 3: a process of the node outside every pod passes to declared ports and to no other; a pod of the node's
/// network, another pod, and another node pass to none.
#[test]
fn only_the_nodes_own_processes_pass_and_only_to_declared_ports() {
    let cluster = cluster();
    cluster.put_all(
        "origin",
        &[
            &echo("origin", "server").serve("--http 8090").container(PROBE),
            &echo("origin", "client"),
            &echo("origin", "outside").plain(),
            &echo("origin", "hostnet").plain().spec("hostNetwork: true").serve_only("--tcp 18998"),
        ],
    );
    cluster.expect(&[
        ("node:node-1", "origin/server:8090", Answer),
        ("node:node-1", "origin/server:8080", Refused("MtlsRequired")),
        ("node:node-2", "origin/server:8090", Refused("MtlsRequired")),
        ("origin/hostnet", "origin/server:8090", Refused("MtlsRequired")),
        ("origin/hostnet", "origin/server:8080", Refused("MtlsRequired")),
        ("origin/outside", "origin/server:8090", Refused("MtlsRequired")),
        ("origin/client", "origin/server:8090", Refused("DefaultDenied")),
    ]);
}

/// SEMANTICS 3: a port is a probe's only for the pod that declares it, and only while it does.
#[test]
fn a_declared_port_is_that_pods_alone() {
    let cluster = cluster();
    let probed = echo("alone", "probed").serve("--http 8090").container(PROBE);
    let other = echo("alone", "other").serve("--http 8090");
    cluster.put_all("alone", &[&probed, &other]);
    cluster.expect(&[
        ("node:node-1", "alone/probed:8090", Answer),
        ("node:node-1", "alone/other:8090", Refused("MtlsRequired")),
    ]);
}

/// SEMANTICS 3: probes are TCP; the node's datagrams to a declared number are anybody's.
#[test]
fn a_datagram_is_no_probe() {
    let cluster = cluster();
    let probe = "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}";
    cluster.put_all("gram", &[&echo("gram", "server").serve("--udp 8080").container(probe)]);
    cluster.expect(&[
        ("node:node-1", "gram/server:8080", Answer),
        ("node:node-1", "udp gram/server:8080", Refused("DefaultDenied")),
    ]);
}
