//! TCP as applications use it, through the real kernel (SEMANTICS 6 and 7): whatever a socket does without a mesh it
//! does with one, by Service address and by pod address, over IPv4, IPv6 and IPv4 from an IPv6 socket.

mod connecting;
mod counting;
mod ending;
mod itself;
mod options;
mod sharing;
mod twice;

use std::sync::OnceLock;

use mesh_tests::{
    socket::plaza::{BASE, idle, pod, policy, service, wait_endpoints},
    trial::Trial,
};

/// The cluster of this file's tests; it ends with the process.
fn cluster() -> &'static Trial {
    static TRIAL: OnceLock<Trial> = OnceLock::new();
    TRIAL.get_or_init(|| {
        let trial = Trial::start("sockets", BASE);
        let serve = "echo 1027 > /proc/sys/net/ipv4/tcp_fastopen; \
                     exec mesh-socket serve --tcp 7000 --tcp4 7001 --greet 7002 --mptcp 7003";
        let plain = "exec mesh-socket serve --tcp 7000";
        let open = [(7000, "TCP"), (7001, "TCP"), (7002, "TCP"), (7003, "TCP"), (7999, "TCP")];
        let one = [(7000, "TCP")];
        let pieces: Vec<String> = [
            idle("client"),
            idle("counted"),
            idle("holder"),
            pod("waiter", "echo 1 > /proc/sys/net/ipv4/tcp_syn_retries; exec sleep infinity"),
            pod("hole", plain),
            pod("server", serve),
            pod("other", plain),
            pod("vault", plain),
            pod("hermit", plain),
            pod("sharers", "exec mesh-socket workers --port 7000 --count 3 --share port"),
            pod("heirs", "exec mesh-socket workers --port 7000 --count 3 --share socket"),
            service("server", "server", &open),
            service("other", "other", &one),
            service("vault", "vault", &one),
            service("hermit", "hermit", &one),
            service("sharers", "sharers", &one),
            service("heirs", "heirs", &one),
            service("nobody", "nobody", &one),
            policy(
                "client",
                "egress: [{name: no-vault, action: Deny, to: [{pods: {matchLabels: {app: vault}}}]}, {name: rest}]",
            ),
            policy("hermit", "ingress: [], egress: []"),
        ]
        .into();
        trial.put("pods", pieces.concat());
        for (port, _) in open {
            wait_endpoints(&trial, "hermit", "server", port, "TCP");
        }
        for service in ["other", "vault", "hermit", "sharers", "heirs"] {
            wait_endpoints(&trial, "hermit", service, 7000, "TCP");
        }
        trial
    })
}
