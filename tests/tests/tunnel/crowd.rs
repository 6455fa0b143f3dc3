//! SEMANTICS 7.3: as many connections through one relay as its limit of open files allows, a refusal beyond, room
//! for a pod that has none yet, and as before when they are gone.

use std::{fs, process::Command, time::Instant};

use mesh_tests::{
    socket::{
        Standing,
        plaza::{routes, wait_endpoints},
    },
    testbed::Part,
    trial::{Trial, eventually},
};
use nix::sys::signal::Signal;

use super::{CLUSTER, FAR, NEAR, SOON, pair, pod};

/// Files that a client has open besides its connections.
const OTHER_FILES: u64 = 200;

/// Of its limit, what relay may keep for itself: its own files, tunnels, stocks of sockets and the head-room that it
/// refuses politely in.
const KEPT: f64 = 0.15;

/// Open files that relay may have: fewer than a machine gives, whose ports, memory and time are for other tests too.
const FILES: u64 = 12_000;

/// A testbed whose clients' relay has no more files than that, with a client and a server.
fn cluster() -> Trial {
    let trial = Trial::start("crowd", CLUSTER);
    let relay = || trial.bed().agent(NEAR, Part::Relay).ok();
    let first = relay().expect("relay runs");
    // It takes all that the process has which starts it, and so does the next one.
    let starter = status(first.as_raw(), "PPid:").to_string();
    let limit = format!("--nofile={FILES}:{FILES}");
    let lowered = Command::new("prlimit").args(["--pid", &starter, &limit]).output();
    let lowered = lowered.expect("prlimit is there: it comes with util-linux");
    assert!(lowered.status.success(), "{lowered:?}");
    trial.bed().signal_agent(NEAR, Part::Relay, Signal::SIGKILL).expect("relay runs");
    eventually("the next relay is there", SOON, || relay().filter(|now| *now != first));
    // A server without a thread for each connection.
    let serve = "exec mesh-echo server --tcp 7000 --tcp 7001";
    let modest = pod("crowd-modest", NEAR, "exec sleep infinity") + &pod("crowd-spared", FAR, serve);
    trial.put("crowd", pair("crowd", serve) + &modest);
    wait_endpoints(&trial, "crowd-client", "crowd-server", 7000, "TCP");
    let ways = routes(&trial, "crowd-server", 7000).into_iter().map(|route| route.words());
    let spared = trial.resolve("sock/crowd-spared:7000").into_iter().map(|to| to.to_string());
    for to in ways.chain(spared) {
        for from in ["sock/crowd-client", "sock/crowd-modest"] {
            let tunnels = || trial.metric(NEAR, "mesh_tunnel_connections_established_total", &[]);
            eventually(&format!("{from} reaches {to} through the tunnel"), SOON, || {
                let before = tunnels();
                let said = trial.socket(from, &format!("connect {to}"));
                (said.get("answer") == Some("ok") && tunnels() > before).then_some(())
            });
        }
    }
    trial
}

#[test]
fn relay_carries_as_many_as_its_open_files_allow_and_refuses_the_next() {
    let cluster = &cluster();
    let limit = open_files(cluster.bed().agent(NEAR, Part::Relay).expect("relay runs").as_raw());
    let per_client = cluster.socket("sock/crowd-client", "limit").number("soft") - OTHER_FILES;
    let route = &routes(cluster, "crowd-server", 7000)[0];
    // Two clients, so that it is not theirs that ends it.
    let each = (limit * 11 / 20).min(per_client);
    let start = Instant::now();
    let clients: Vec<Standing> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let words = format!("crowd {} --connections {each}", route.words());
                scope.spawn(move || cluster.standing_socket("sock/crowd-client", &words))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client's thread")).collect()
    });
    let open: u64 = clients.iter().map(|client| client.said.number("open")).sum();
    println!(
        "{open} of {} open through a relay with {limit} files, after {:.1} s",
        each * 2,
        start.elapsed().as_secs_f64()
    );
    for client in &clients {
        assert_eq!(client.said.number("wrong_peer"), 0, "{}", client.said.text());
        // At once: a refusal is no timeout.
        let refused = client.said.after("failed.");
        let reset = |errno: &&str| ["ECONNRESET", "EPIPE", "ENOTCONN"].contains(errno);
        assert!(refused.iter().all(reset), "{}", client.said.text());
    }
    assert!(open as f64 >= limit as f64 * (1.0 - KEPT), "{open} of {limit}");
    assert!(open < each * 2, "none was refused");
    let through = cluster.metric(NEAR, "mesh_tunnel_connections_open", &[]);
    assert!(through >= open as f64, "{through} go through the tunnel, of {open}");
    super::ending::is_logged(cluster, "sock/crowd-client", "RelayExhausted");
    // One pod may have nearly everything, but not the first connections of another.
    for address in cluster.pod("sock/crowd-spared").addresses {
        let to = std::net::SocketAddr::new(address, 7000);
        let said = cluster.socket("sock/crowd-modest", &format!("connect {to}"));
        assert_eq!(said.get("answer"), Some("ok"), "a pod that holds nothing, to {to}: {}", said.text());
    }
    // It still answers those who ask how it is.
    assert!(cluster.bed().metrics(NEAR).is_ok());
    let alive: u64 = clients.into_iter().map(|client| client.finish().number("alive")).sum();
    assert_eq!(alive, open, "every connection still works");
    eventually("a new connection is carried again", SOON, || {
        let said = cluster.socket("sock/crowd-client", &format!("connect {}", route.words()));
        (said.get("answer") == Some("ok")).then_some(())
    });
}

/// A number in a process's status.
fn status(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is our process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("there is such a field");
    line.trim().parse().expect("it is a number")
}

/// The soft limit of open files of a process.
fn open_files(pid: i32) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it is our process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is such a limit");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).expect("it is a number")
}
