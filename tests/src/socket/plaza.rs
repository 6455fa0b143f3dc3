//! What the tests of sockets share: pods and Services as short YAML, the ways to reach a pod, and what must be seen at
//! both ends of every connection whichever way was taken.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::Said;
use crate::trial::{Trial, eventually};

/// The only node.
pub const NODE: &str = "node-1";
/// The namespace of all pods.
pub const NAMESPACE: &str = "sock";

/// Longest wait for counts and log lines; a busy machine may stand still for seconds.
pub const SOON: Duration = Duration::from_secs(30);

/// A connect that ends before its second SYN, a second after the first: neither lost nor waited for.
pub const AT_ONCE_MICROS: u64 = 900_000;

/// How far the kernel's clock, by which the log has its times, may be from the tests'.
const CLOCKS: Duration = Duration::from_millis(200);

/// The namespace, and a MeshConfig that logs every connection.
pub const BASE: &str = "apiVersion: v1\nkind: Namespace\n\
    metadata: {name: sock, labels: {mesh.internal/mode: enabled}}\n---\n\
    apiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n\
    spec: {telemetry: {accessLog: {format: JSON, level: All}}}\n";

/// A pod that is ready when its TCP port 7000 answers, or at once if it only has commands run in it.
#[must_use]
pub fn pod(name: &str, shell: &str) -> String {
    let probe = if shell.contains(" 7000") {
        ", readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1}"
    } else {
        ""
    };
    format!(
        "---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: {name}, mesh.internal/mode: enabled}}}}\n\
         spec: {{nodeName: {NODE}, serviceAccountName: {name}, terminationGracePeriodSeconds: 0, \
         containers: [{{name: main, command: [sh, -c, {shell:?}]{probe}}}]}}\n"
    )
}

/// A pod that only has commands run in it.
#[must_use]
pub fn idle(name: &str) -> String {
    pod(name, "exec sleep infinity")
}

/// A Service of both families before the pods with this label `app`; its ports are those of the pods.
#[must_use]
pub fn service(name: &str, app: &str, ports: &[(u16, &str)]) -> String {
    let ports: Vec<String> = ports
        .iter()
        .map(|(port, protocol)| {
            let name = format!("{}-{port}", protocol.to_lowercase());
            format!("{{name: {name}, port: {}, targetPort: {port}, protocol: {protocol}}}", port + 1000)
        })
        .collect();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec: {{selector: {{app: {app}}}, ipFamilyPolicy: PreferDualStack, ports: [{}]}}\n",
        ports.join(", ")
    )
}

/// An AccessPolicy about the pod of this name; `rules` is its `ingress` and `egress`.
#[must_use]
pub fn policy(app: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
         metadata: {{name: {app}, namespace: {NAMESPACE}}}\n\
         spec: {{selector: {{matchLabels: {{app: {app}}}}}, {rules}}}\n"
    )
}

/// `namespace/name` of a pod.
#[must_use]
pub fn place(pod: &str) -> String {
    format!("{NAMESPACE}/{pod}")
}

/// One way to reach a port of a pod.
#[derive(Debug, Clone)]
pub struct Route {
    /// What a client dials.
    pub to: SocketAddr,
    /// It does so with a v4-mapped address.
    pub mapped: bool,
    /// Where it must end up.
    pub lands: SocketAddr,
}

impl Route {
    /// The words for `mesh-socket`.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{}{}", self.to, self.flag())
    }

    /// ` --mapped`, or nothing.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        if self.mapped { " --mapped" } else { "" }
    }
}

/// Every way: by Service address and by pod address; IPv4, IPv6, and IPv4 from an IPv6 socket.
///
/// # Panics
/// If pod or Service is not there.
#[must_use]
pub fn routes(trial: &Trial, service: &str, port: u16) -> Vec<Route> {
    routes_to(trial, service, service, port)
}

/// The same where the pod is not called as its Service.
///
/// # Panics
/// If pod or Service is not there.
#[must_use]
pub fn routes_to(trial: &Trial, service: &str, pod: &str, port: u16) -> Vec<Route> {
    let pod = trial.pod(&place(pod)).addresses;
    let frontends = trial.service(&place(service), port + 1000);
    let mut routes = Vec::new();
    for own in pod {
        let lands = SocketAddr::new(own, port);
        let frontend = frontends.iter().find(|frontend| frontend.is_ipv4() == own.is_ipv4());
        let frontend = *frontend.unwrap_or_else(|| panic!("Service {service} has no address like {own}"));
        for to in [frontend, lands] {
            routes.push(Route { to, mapped: false, lands });
            if own.is_ipv4() {
                routes.push(Route { to, mapped: true, lands });
            }
        }
    }
    assert_eq!(routes.len(), 6, "a pod has an address of each family: {routes:?}");
    routes
}

/// Ways of this kind only.
#[must_use]
pub fn unmapped(routes: Vec<Route>) -> Vec<Route> {
    routes.into_iter().filter(|route| !route.mapped).collect()
}

/// Checks what both ends of a TCP connection see: the client the address that it dialled and its pod's own, the server
/// its own address and the client's true one, by `accept` and by `getpeername`.
///
/// # Panics
/// If either is not so.
pub fn assert_transparent(trial: &Trial, client: &str, route: &Route, said: &Said, prefix: &str) {
    let get = |key: &str| &said[&format!("{prefix}{key}")];
    assert_eq!(get("answer"), "ok", "{route:?}: {}", said.text());
    assert_eq!(
        get("peer"),
        route.to.to_string(),
        "getpeername shows what was dialled: {route:?}: {}",
        said.text()
    );
    let local: SocketAddr = get("local").parse().unwrap_or_else(|_| panic!("no address: {}", said.text()));
    let own: Vec<IpAddr> = trial.pod(&place(client)).addresses;
    assert!(own.contains(&local.ip()), "getsockname shows the pod's own address: {route:?}: {}", said.text());
    assert_eq!(get("server.local"), route.lands.to_string(), "{route:?}: {}", said.text());
    assert_eq!(
        get("server.accepted"),
        local.to_string(),
        "accept shows the true client: {route:?}: {}",
        said.text()
    );
    assert_eq!(get("server.peer"), local.to_string(), "so does getpeername: {route:?}: {}", said.text());
}

/// The lines of the access log about connections that ended, that `matches` picks.
#[must_use]
pub fn ended(trial: &Trial, matches: impl Fn(&Value) -> bool) -> Vec<Value> {
    let lines = trial.access_log();
    let values = lines.iter().filter_map(|(_, line)| serde_json::from_str::<Value>(line).ok());
    values.filter(|line| line.get("ended").is_some() && matches(line)).collect()
}

/// Waits for the source's log line about the end of the connection that a run of `mesh-socket` tells of: by both its
/// ends as the client saw them, since the kernel gives a local port again to whoever dials another address, and by its
/// time, since it gives it again at the same address once a reset has left nothing of the connection.
///
/// # Panics
/// If it does not come.
#[must_use]
pub fn wait_ended(trial: &Trial, said: &Said) -> Value {
    let (local, peer, began) = (&said["local"], &said["peer"], said.began());
    eventually(&format!("the end of the connection from {local} to {peer} is logged"), SOON, || {
        let is_it = |line: &Value| {
            line["source"]["address"] == local
                && line["dialled"] == peer
                && line["reporter"] == "source"
                && logged(line).is_some_and(|time| time + CLOCKS >= began)
        };
        ended(trial, is_it).pop()
    })
}

/// When what a line of the access log tells of happened.
fn logged(line: &Value) -> Option<SystemTime> {
    line["time"].as_str()?.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// Waits until a sum of the node's scrape is at least `wanted`, and gives it.
///
/// # Panics
/// If it does not come to that.
pub fn wait_at_least(trial: &Trial, name: &str, labels: &[(&str, &str)], wanted: f64) -> f64 {
    eventually(&format!("{name} {labels:?} is at least {wanted}"), SOON, || {
        let sum = trial.scrape(NODE).sum(name, labels);
        (sum >= wanted).then_some(sum)
    })
}

/// Waits until the node knows endpoints of a Service's port in both families, as a pod that dials it sees.
///
/// # Panics
/// If it does not come to know them.
pub fn wait_endpoints(trial: &Trial, from: &str, service: &str, port: u16, protocol: &str) {
    for to in trial.service(&place(service), port + 1000) {
        eventually(&format!("{protocol} {to} of Service {service} has endpoints"), SOON, || {
            let (words, key) = match protocol {
                // Whether an answer comes does not matter here.
                "UDP" => (format!("udp {to} --timeout 1"), "0.send"),
                _ => (format!("connect {to}"), "connect"),
            };
            let said = trial.socket(&place(from), &words);
            // That policy refuses it, or nobody listens, is another matter.
            (&said[key] != "EHOSTUNREACH").then_some(())
        });
    }
}
