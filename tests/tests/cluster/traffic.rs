//! Pods on two nodes reach each other by address, by Service and by name.

use mesh_tests::cluster::trial::TIMEOUT;

use crate::scene::Cluster;

const SERVER: &str = include_str!("server.yaml");

/// A pod as kubectl lists it.
struct Pod {
    name: String,
    node: String,
    addresses: Vec<String>,
}

fn pods(cluster: &Cluster) -> Vec<Pod> {
    let columns =
        "--output=jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIPs[*].ip}\n{end}";
    let text = cluster.ask(&["get", "pods", "--selector=app=echo", columns]);
    let pod = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Pod { name: words.next()?, node: words.next()?, addresses: words.collect() })
    };
    text.lines().filter_map(pod).collect()
}

/// That it is so, on a cluster of two nodes.
pub(crate) fn pods_services_and_names(cluster: &Cluster) {
    cluster.kubectl.apply(SERVER).unwrap_or_else(|error| panic!("{error}"));
    cluster.ask(&["rollout", "status", "deployment/echo", TIMEOUT]);
    let pods = pods(cluster);
    let [one, two] = pods.as_slice() else { panic!("{} pods", pods.len()) };
    assert_ne!(one.node, two.node);
    assert!(one.addresses[0].contains('.') && one.addresses[1].contains(':'), "{:?}", one.addresses);

    // The server says who it saw: the pod itself, by its own address.
    for (number, family) in ["-4", "-6"].into_iter().enumerate() {
        let bracketed =
            |address: &str| if address.contains(':') { format!("[{address}]") } else { address.into() };
        let destination = format!("{}:9000", bracketed(&two.addresses[number]));
        let said = cluster.call(&one.name, "tcp", family, &destination);
        let answer = said.lines().find(|line| line.starts_with("answer:")).unwrap_or_default();
        assert!(answer.contains(&one.addresses[number]), "{said}");
        cluster.call(&one.name, "udp", family, &destination);

        // By name, so by DNS, and by the Service's address, so by kube-proxy; both pods answer in the end.
        let mut answered = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let said = cluster.call(&one.name, "http", family, "echo:80");
            answered
                .extend(pods.iter().map(|pod| pod.name.clone()).filter(|name| said.contains(name.as_str())));
            if answered.len() == 2 {
                break;
            }
        }
        assert_eq!(answered.len(), 2, "only {answered:?} answered for echo in the family {family}");
    }

    // What a cluster is asked for by its users beside.
    assert!(!cluster.ask(&["logs", &one.name]).is_empty());
    assert!(cluster.ask(&["version"]).contains("Server Version: v1."));
    let node = cluster.ask(&["get", "node", &one.node, "--output=jsonpath={.spec.podCIDRs}"]);
    assert!(node.contains("/24") && node.contains("/64"), "{node}");
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn a_cluster_with_iptables_works() {
    pods_services_and_names(&Cluster::up(&["--nodes", "2", "--proxy", "iptables"]));
}
