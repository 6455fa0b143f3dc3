//! SEMANTICS 7.3: as many connections through one relay as its limit of open files allows, a refusal beyond, room
//! for a pod that has none yet, and as before when they are gone.

use std::{fs, time::Instant};

use mesh_tests::{
    socket::{Standing, plaza::routes},
    testbed::Part,
    trial::eventually,
};

use super::{FAR, NEAR, SOON, pod, put_pair_serving};

/// Files that a client has open besides its connections.
const OTHER_FILES: u64 = 200;

/// Of its limit, what relay may keep for itself: its own files, tunnels, stocks of sockets and the head-room that it
/// refuses politely in.
const KEPT: f64 = 0.15;

#[test]
fn relay_carries_as_many_as_its_open_files_allow_and_refuses_the_next() {
    // A server without a thread for each connection.
    let serve = "exec mesh-echo server --tcp 7000 --tcp 7001";
    let modest = pod("crowd-modest", NEAR, "exec sleep infinity") + &pod("crowd-spared", FAR, serve);
    let cluster = put_pair_serving("crowd", serve, &modest);
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

/// The soft limit of open files of a process.
fn open_files(pid: i32) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it is our process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is such a limit");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).expect("it is a number")
}
