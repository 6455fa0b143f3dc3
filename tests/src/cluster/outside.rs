//! This machine as what is outside of the cluster: NodePort, LoadBalancer and hostPort traffic, which kube-proxy and the
//! CNI plugin forward. It is never proven, so it comes in exactly where no proof is asked for.

use std::{net::IpAddr, process::Command};

use super::{
    Running,
    trial::{TIMEOUT, program, run, until},
};

const OUTSIDE: &str = include_str!("outside.yaml");

/// Where its objects are.
const NAMESPACE: &str = "outside";

/// An address that no node has, which the cluster's load balancer is said to have.
const BALANCER: [&str; 2] = ["10.216.253.10", "fd6d:6573:68c8:fffd::10"];

/// That it is so, on a cluster of two nodes on which the mesh is, and asks for no proof by default; with pods of an image
/// that has `mesh-echo`. The namespace `outside` stays.
///
/// # Panics
/// If it is not so.
pub fn comes_in_where_no_proof_is_asked_for(cluster: &Running, image: &str) {
    let ask = |arguments: &[&str]| {
        let all = [&["--namespace", NAMESPACE], arguments].concat();
        cluster.kubectl().run(&all).unwrap_or_else(|error| panic!("{error}"))
    };
    cluster.kubectl().apply(&OUTSIDE.replace("IMAGE", image)).unwrap_or_else(|error| panic!("{error}"));
    ask(&["wait", "pod", "--all", "--for=condition=Ready", TIMEOUT]);
    ask(&["wait", "pod", "--all", "--for=condition=mesh.internal/Enrolled", TIMEOUT]);
    ask(&["wait", "accesspolicy", "--all", "--for=condition=Programmed", TIMEOUT]);
    let is_open = |address: IpAddr, port: u16| {
        let said = answered(address, port);
        assert!(said.contains("host=open"), "{said}");
    };

    let nodes = [cluster.addresses("node-1"), cluster.addresses("node-2")];
    for address in nodes.iter().flatten() {
        is_open(*address, 30900);
        refused(*address, 30901);
    }
    // hostPort is the node's of the pod.
    nodes[0].iter().for_each(|address| is_open(*address, 30902));
    nodes[1].iter().for_each(|address| refused(*address, 30903));

    // A load balancer sends to any node; here to the one that does not have the pod.
    let ingress = BALANCER.map(|address| format!("{{\"ip\": \"{address}\"}}")).join(", ");
    let patch = format!("{{\"status\": {{\"loadBalancer\": {{\"ingress\": [{ingress}]}}}}}}");
    ask(&["patch", "service", "open", "--subresource=status", "--type=merge", "--patch", &patch]);
    let balancer = BALANCER.map(|address| address.parse::<IpAddr>().expect("an address"));
    for (address, via) in balancer.into_iter().zip(&nodes[1]) {
        cluster.balance(address, *via);
        is_open(address, 9000);
    }

    // From inside, the same addresses lead there too, and the client's name is proven all the same.
    let inside = |pod: &str, family: &str, to: &str| {
        until(&format!("{pod} to {to}"), || {
            let argv = ["mesh-echo", "client", family, "tcp", to];
            let output = cluster.command(NAMESPACE, pod, &argv).output().expect("kubectl runs");
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into()) }
        });
    };
    for address in nodes.iter().flatten() {
        inside("open", family(*address), &std::net::SocketAddr::new(*address, 30901).to_string());
    }
    for address in balancer {
        inside("closed", family(address), &std::net::SocketAddr::new(address, 9000).to_string());
    }
    for family in ["-4", "-6"] {
        inside("open", family, "closed:9000");
    }
}

/// A call by TCP from this machine to an address of a node or of the load balancer; gives what answered, or how it failed.
fn call(address: IpAddr, port: u16) -> Result<String, String> {
    let to = std::net::SocketAddr::new(address, port).to_string();
    let output =
        program("mesh-echo").args(["client", family(address), "--timeout=5000", "tcp", &to]).output();
    let output = output.expect("mesh-echo runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The same, where somebody answers in the end.
fn answered(address: IpAddr, port: u16) -> String {
    until(&format!("{address} port {port} from outside"), || call(address, port))
}

/// The same, where the connection is refused in the end and nobody answers before.
fn refused(address: IpAddr, port: u16) {
    until(&format!("{address} port {port} from outside to be refused"), || match call(address, port) {
        Ok(said) => panic!("{address} port {port} from outside is answered: {said}"),
        Err(said) if said.contains("ECONNREFUSED") || said.contains("ECONNRESET") => Ok(()),
        Err(said) => Err(said),
    });
}

/// The option of `mesh-echo` for an address.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "-6" } else { "-4" }
}

impl Running {
    /// The addresses of a node, first IPv4.
    fn addresses(&self, node: &str) -> Vec<IpAddr> {
        let path = "--output=jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
        let said = until("the node's addresses", || {
            self.kubectl().run(&["get", "node", node, path]).map_err(|error| error.to_string())
        });
        said.split_whitespace().map(|address| address.parse().expect("an address")).collect()
    }

    /// From now on this machine sends what is for that address to a node, as a load balancer would.
    fn balance(&self, address: IpAddr, node: IpAddr) {
        let mut route = Command::new("nsenter");
        route.arg(format!("--net={}", self.fabric().display()));
        let [address, via] = [address, node].map(|address| address.to_string());
        let family = family(node);
        run(route.args(["ip", family, "route", "replace", &address, "via", &via]));
    }
}
