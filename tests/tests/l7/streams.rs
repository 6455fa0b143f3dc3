//! Much, and long: bodies of 100 MB with an end that reads nothing for a while, a thousand requests at once on one
//! connection, and what that costs relay.

use std::{
    fs,
    time::{Duration, Instant},
};

use mesh_tests::{
    http::{caller::Ask, order::Content, order::Version, steer},
    testbed::Part,
    trial::eventually,
};

use super::scene::{FAR, NEAR, SHOP, SOON, Way, cluster, route, routed, seen, seen_by_engine, service, ways};

const BODY: u64 = 100_000_000;

/// More than this none of it may cost a relay, in KiB: windows and buffers, not bodies.
const COST: u64 = 32 << 10;

const ONE: &str = "  - backendRefs: [{name: one, port: 80}]\n";

fn routed_ways(name: &str) -> Vec<Way> {
    cluster().put_all(name, &[&service(SHOP, name, "one"), &route(name, ONE)]);
    let ways = ways(name);
    routed(&ways, "/");
    ways
}

/// The most memory that the relays of both nodes have had, in KiB, since it was last forgotten.
fn peaks() -> [(&'static str, u64); 2] {
    [NEAR, FAR].map(|node| {
        let status = fs::read_to_string(format!("/proc/{}/status", relay(node))).expect("it is our process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it has memory");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok());
        (node, kib.expect("it is a number"))
    })
}

fn relay(node: &str) -> i32 {
    cluster().bed().agent(node, Part::Relay).expect("relay runs").as_raw()
}

/// Checks what `work` costs the relays at its peak.
fn costs(what: &str, work: impl FnOnce()) {
    for node in [NEAR, FAR] {
        // proc(5), `clear_refs`: 5 resets the peak.
        fs::write(format!("/proc/{}/clear_refs", relay(node)), "5").expect("we are root");
    }
    let before = peaks();
    work();
    for ((node, before), (_, after)) in before.into_iter().zip(peaks()) {
        println!("{what}: relay of {node} {before} -> {after} KiB");
        assert!(after < before + COST, "{what}: relay of {node} {before} -> {after} KiB");
    }
}

/// Issue, 4: whole, and with backpressure from end to end: who does not read is not read ahead for.
#[test]
fn bodies_of_100_mb_come_whole_and_cost_no_memory() {
    let stall = Duration::from_secs(2);
    for way in routed_ways("bulk") {
        costs(&format!("{way}: up"), || {
            let ask = way.get("/").method("POST").header(steer::STALL, stall.as_millis());
            let ask = ask.content(Content::Octets { length: BODY, chunked: way.version == Version::Http1 });
            let there = seen(&way, &way.ask(&ask.within(Duration::from_secs(120))));
            assert_eq!((there.length, there.intact), (BODY, true), "{way}: {there:?}");
        });
        costs(&format!("{way}: down"), || {
            let ask = way.get("/").header(steer::OCTETS, BODY).stall(stall);
            let answer = way.ask(&ask.within(Duration::from_secs(120)));
            assert_eq!((answer.length, answer.intact), (BODY, true), "{way}: {answer:?}");
        });
    }
}

/// Issue, 4: each has its answer, whoever the others are.
#[test]
fn a_thousand_requests_run_at_once_on_one_connection() {
    for way in routed_ways("many").into_iter().filter(|way| way.version == Version::Http2) {
        costs(&format!("{way}: a thousand"), || {
            let connection = format!("many {way}");
            let first = way.ask(&way.get("/").over(&connection));
            let start = Instant::now();
            let asked: Vec<_> = (0..1_000)
                .map(|number: u32| {
                    let ask = way.get(&format!("/{number}")).over(&connection).header(steer::DELAY, 2_000);
                    way.caller.begin(&ask.within(Duration::from_secs(60)))
                })
                .collect();
            for (number, pending) in asked.into_iter().enumerate() {
                let answer = pending.end().unwrap_or_else(|failed| panic!("{way} {number}: {failed:?}"));
                let seen = seen_by_engine(&answer).unwrap_or_else(|problem| panic!("{way}: {problem}"));
                assert_eq!(seen.target, format!("/{number}"), "{way}");
                assert_eq!(answer.head.local, first.head.local, "{way}: one connection");
            }
            let taken = start.elapsed();
            assert!(taken < Duration::from_secs(30), "{way}: one after another they take 2,000 s; {taken:?}");
        });
    }
}

/// A client that goes away in the middle takes its request with it: nothing is left open.
#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let ways = routed_ways("fickle");
    let open = |node| cluster().metric(node, "mesh_engine_connections_open", &[]);
    let before = [NEAR, FAR].map(|node| (node, open(node)));
    for way in &ways {
        let ask = way.get("/").header(steer::PIECES, 50).header(steer::PAUSE, 200);
        let cut = way.caller.ask(&ask.within(Duration::from_millis(800)));
        assert_eq!(cut.expect_err("it gives up").step, "wait", "{way}");
        let ask = Ask::web_socket(way.to, "/ws", Duration::from_millis(20)).version(way.version);
        let cut = way.caller.ask(&ask.within(Duration::from_millis(800)));
        assert_eq!(cut.expect_err("it gives up").step, "wait", "{way}");
    }
    for (node, before) in before {
        eventually(&format!("no more are open on {node} than before, {before}"), SOON, || {
            (open(node) <= before).then_some(())
        });
    }
}
