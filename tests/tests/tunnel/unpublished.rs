//! SEMANTICS 7.5: relay's listeners in a pod take only what the kernel steered there. The pod finds them in its own
//! `/proc/net/tcp`; connecting to them leads nowhere.

use std::net::SocketAddr;

use mesh_tests::{socket::plaza::routes, trial::eventually};

use super::{NEAR, SOON, put_pair};

/// The state LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

#[test]
fn a_pod_that_finds_relays_listeners_gets_nothing_from_them() {
    let cluster = put_pair("probe", "");
    // All that listens in a pod that serves nothing is relay's.
    let text = cluster.run_in("sock/probe-client", &["cat", "/proc/net/tcp", "/proc/net/tcp6"]);
    let ports: Vec<u16> = text.lines().filter_map(listening).collect();
    assert!(!ports.is_empty(), "relay listens in the pod:\n{text}");
    let ended = |reason| cluster.metric(NEAR, "mesh_tunnel_connections_ended_total", &[("reason", reason)]);
    let before = ended("FlowUnknown");
    let mut accepted = 0;
    for port in &ports {
        for address in ["127.0.0.1", "127.64.0.1", "::1"] {
            let to = SocketAddr::new(address.parse().expect("it is an address"), *port);
            let said = cluster.socket("sock/probe-client", &format!("connect {to}"));
            match &said["connect"] {
                "ok" => {
                    accepted += 1;
                    assert_ne!(said.get("answer"), Some("ok"), "{to} answers: {}", said.text());
                    let refused = ["ECONNRESET", "EPIPE", "ENOTCONN", "UnexpectedEof"];
                    assert!(refused.contains(&&said["answer"]), "{to} is not refused: {}", said.text());
                }
                errno => assert_eq!(errno, "ECONNREFUSED", "{to}: {}", said.text()),
            }
        }
    }
    println!("{} listeners in the pod, {accepted} connections accepted and refused", ports.len());
    if accepted > 0 {
        eventually("what was accepted is counted", SOON, || (ended("FlowUnknown") > before).then_some(()));
    }
    // Nobody else noticed.
    let route = &routes(cluster, "probe-server", 7000)[0];
    let said = cluster.socket("sock/probe-client", &format!("connect {}", route.words()));
    assert_eq!(said.get("answer"), Some("ok"), "{}", said.text());
}

/// The port of a line that tells of a listener.
fn listening(line: &str) -> Option<u16> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = words.get(1)?.rsplit_once(':')?;
    (words.get(3) == Some(&LISTEN)).then(|| u16::from_str_radix(port, 16).ok()).flatten()
}
