//! UDP as applications use it (SEMANTICS 6 and 7, KERNEL 6): connected and not, to several Services from one socket,
//! answers under the address that was dialled, and refusals as errno.

mod connected;
mod denied;
mod resolver;
mod unconnected;

use std::{net::SocketAddr, sync::OnceLock};

use mesh_tests::{
    socket::{
        Said,
        plaza::{BASE, Route, idle, place, pod, policy, service, wait_endpoints},
    },
    trial::Trial,
};

/// Makes a pod answer every datagram that it refuses.
const UNLIMITED: &str = "echo 0 | tee /proc/sys/net/ipv4/icmp_ratelimit /proc/sys/net/ipv6/icmp/ratelimit";

/// The cluster of this file's tests; it ends with the process.
fn cluster() -> &'static Trial {
    static TRIAL: OnceLock<Trial> = OnceLock::new();
    TRIAL.get_or_init(|| {
        let trial = Trial::start("udp", BASE);
        let serve = "exec mesh-socket serve --tcp 7000 --udp 7000 --udp4 7001";
        let both = [(7000, "TCP"), (7000, "UDP"), (7001, "UDP")];
        let twin = |name: &str| {
            pod(name, serve).replace(&format!("app: {name},"), "app: twin,")
        };
        let pieces: Vec<String> = [
            idle("client"),
            idle("shy"),
            pod("server", serve),
            pod("other", serve),
            pod("vault", serve),
            // The kernel limits how often it says "port unreachable" to one address: six at once, then one a second.
            pod("cellar", &format!("{UNLIMITED}; {serve}")),
            twin("twin-1"),
            twin("twin-2"),
            twin("twin-3"),
            service("server", "server", &both),
            service("other", "other", &both),
            service("vault", "vault", &both),
            service("cellar", "cellar", &both),
            service("twin", "twin", &both),
            policy(
                "client",
                "egress: [{name: no-vault, action: Deny, to: [{pods: {matchLabels: {app: vault}}}]}, {name: rest}]",
            ),
            policy("cellar", "ingress: []"),
            policy("shy", "ingress: [], egress: [{name: server, to: [{services: [{name: server}]}]}]"),
        ]
        .into();
        trial.put("pods", pieces.concat());
        for service in ["server", "other", "vault", "cellar", "twin"] {
            for (port, protocol) in both {
                wait_endpoints(&trial, "client", service, port, protocol);
            }
        }
        trial
    })
}

/// Checks what both ends of a datagram's exchange see; `local` is what the client's socket says of itself.
fn assert_answered(client: &str, route: &Route, said: &Said, prefix: &str) {
    let get = |key: &str| &said[&format!("{prefix}{key}")];
    assert_eq!(
        get("from"),
        route.to.to_string(),
        "the answer comes from what was dialled: {route:?}: {}",
        said.text()
    );
    assert_eq!(get("server.port"), route.lands.port().to_string(), "{route:?}: {}", said.text());
    let caller: SocketAddr = get("server.caller").parse().expect("the server says an address and a port");
    let own = cluster().pod(&place(client)).addresses;
    assert!(own.contains(&caller.ip()), "the server sees the true client: {route:?}: {}", said.text());
}
