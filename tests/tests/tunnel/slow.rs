//! Who does not read holds up nobody else.

use std::thread;

use mesh_tests::{
    socket::{
        Said, Standing,
        plaza::{self, Route, routes},
    },
    trial::Trial,
};

use super::{NEAR, put_pair, tunnelled};

const GIBIBYTE: u64 = 1 << 30;

/// Issue: a reader that does not read holds up nobody else on the same tunnel.
#[test]
fn a_slow_reader_does_not_hold_up_a_fast_one() {
    let cluster = put_pair("slow", "");
    let route = &routes(cluster, "slow-server", 7000)[0];
    let pace = format!("pace {} --rounds 2000", route.words());
    let alone = cluster.socket("sock/slow-client", &pace);
    // Servers that send a gibibyte each to clients that never read: whatever buffers there are, are full. Enough of
    // them that each worker of relay has some.
    let stalled = stall(cluster, "slow-client", route, 8);
    let tunnels = || cluster.metric(NEAR, "mesh_tunnels_open", &[("direction", "outbound")]);
    let before = tunnels();
    let beside = tunnelled(1, || cluster.socket("sock/slow-client", &pace));
    assert_eq!((beside.get("failed"), beside.number("rounds")), (None, 2000), "{}", beside.text());
    assert!(tunnels() <= before, "the fast one has a tunnel of its own: {before} before, {} now", tunnels());
    let micros = |said: &Said, key: &str| said.number(&format!("{key}.micros"));
    let ratio = micros(&beside, "p99") as f64 / micros(&alone, "p99").max(1) as f64;
    println!(
        "p50 {} -> {} us, p99 {} -> {} us beside {} stalled readers: ratio {ratio:.2}",
        micros(&alone, "p50"),
        micros(&beside, "p50"),
        micros(&alone, "p99"),
        micros(&beside, "p99"),
        stalled.len()
    );
    // The goal of 2 is for a quiet machine; that nobody is held up shows at any load: the stalled ones wait for ever.
    assert!(micros(&beside, "p99") < 2_000_000, "{}", beside.text());
}

/// So many clients of a server that sends, started together, none of which reads; each has bytes that wait for it.
pub(super) fn stall(cluster: &Trial, client: &str, route: &Route, count: usize) -> Vec<Standing> {
    let stalled = standing(cluster, client, count, &format!("stall {} --bytes {GIBIBYTE}", route.words()));
    for one in &stalled {
        assert_eq!(&one.said["connect"], "ok", "{}", one.said.text());
        assert!(one.said.number("waiting") > 0, "{}", one.said.text());
    }
    stalled
}

/// So many runs of `mesh-socket`, started together.
pub(super) fn standing(cluster: &Trial, client: &str, count: usize, words: &str) -> Vec<Standing> {
    let place = plaza::place(client);
    thread::scope(|scope| {
        let start = |_| scope.spawn(|| cluster.standing_socket(&place, words));
        let threads: Vec<_> = (0..count).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client's thread")).collect()
    })
}
