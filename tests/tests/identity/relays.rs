//! A relay that dies, is told to end or is away for a while, on the client's node or on the server's: what is open and
//! what is dialled meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use mesh_tests::{
    testbed::Part,
    trial::{Held, Trial, ends, eventually},
};
use nix::sys::signal::Signal;

use super::{FAR, NEAR, SOON, cluster, told::Mark, traffic::Traffic, whole};

/// How long the testbed's relays let open tunnels be (`tests/src/supervisor/mesh.rs`).
const DRAIN: Duration = Duration::from_secs(2);

/// A connection to every address of the server that is kept busy, and has been answered already.
fn hold(trial: &Trial, to: &str) -> Vec<Held> {
    let hold = |address| trial.hold("id/client", address, Duration::from_millis(20));
    trial.resolve(to).into_iter().map(hold).collect()
}

/// Kills a node's relay, which stays away until it is released; returns when there is nothing left of it.
pub(super) fn kill(trial: &Trial, node: &str) {
    trial.bed().hold_agent(node, Part::Relay).unwrap();
    eventually("the killed relay is gone", SOON, || trial.bed().agent(node, Part::Relay).err());
}

/// How many tunnels the client's relay has.
fn tunnels(trial: &Trial) -> f64 {
    trial.metric(NEAR, "mesh_tunnels_open", &[("direction", "outbound")])
}

/// Issue: listeners are kept by wire: who connects while relay is away waits, and is served by the next one as who
/// he is.
#[test]
fn who_connects_while_relay_is_away_is_served_by_the_next_one() {
    let cluster = cluster();
    for node in [NEAR, FAR] {
        let trial = cluster.trial;
        let before = tunnels(trial);
        kill(trial, node);
        if node == FAR {
            // Nobody is sent through a tunnel to where nobody is.
            eventually("the client's relay has noticed", SOON, || (tunnels(trial) < before).then_some(()));
        }
        let calls = thread::scope(|scope| {
            let call = |to| move || (to, trial.call("id/client", "tcp", to, &["--timeout", super::PATIENT]));
            let calls: Vec<_> =
                trial.resolve("id/server:8080").into_iter().map(|to| scope.spawn(call(to))).collect();
            thread::sleep(Duration::from_secs(1));
            assert!(calls.iter().all(|call| !call.is_finished()), "{node}: they wait");
            trial.bed().release_agent(node, Part::Relay).unwrap();
            calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<_>>()
        });
        for (to, outcome) in calls {
            let answer = outcome.answer();
            assert_eq!((answer.peer, answer.host()), (to, "server"), "{node}: {answer:?}");
            assert_eq!(answer.word("peer"), answer.local.to_string(), "{node}: {answer:?}");
        }
        whole(&cluster);
    }
}

/// Issue: relay killed: new tunnelled connections that failed are counted and shown; established connections of one
/// node are untouched, and new ones are made.
#[test]
fn a_killed_relay_fails_new_tunnels_only_for_a_while() {
    let cluster = cluster();
    for (node, beside) in [(NEAR, ("id/client", "id/neighbour:8080")), (FAR, ("id/beside", "id/server:8080"))]
    {
        let near = Traffic::start(&cluster, beside.0, beside.1);
        let far = Traffic::start(&cluster, "id/client", "id/server:8080");
        let held = hold(&cluster, "id/server:8080");
        let (mark, start) = (Mark::now(&cluster), Instant::now());
        cluster.bed().signal_agent(node, Part::Relay, Signal::SIGKILL).unwrap();
        let ended = ends(&held, start, SOON);
        let is_reset =
            |end: &Option<(String, _)>| end.as_ref().is_some_and(|end| end.0.contains("ECONNRESET"));
        assert!(
            ended.iter().all(is_reset),
            "{node}: connections through a killed process are reset: {ended:?}"
        );
        whole(&cluster);
        println!(
            "{node}: tunnels are made again {:.1} s after relay was killed",
            start.elapsed().as_secs_f64()
        );
        near.goes_on();
        far.goes_on();
        let far = far.stop();
        println!(
            "{node}: through the killed relay: {} answered, {} failed, {} held ones ended",
            far.ok,
            far.failed.len(),
            far.ended.len()
        );
        assert_eq!(far.ended.len(), 2, "{node}: connections through a killed process end: {far:?}");
        near.stop().assert_whole(&format!("{node}: same-node connections beside a killed relay"));
        if node == FAR {
            for to in cluster.resolve("id/server:8080") {
                mark.wait(&cluster, "that the other end of a tunnel went away", |line| {
                    line.node() == NEAR
                        && line.text("/reason") == "PeerFailed"
                        && !line.text("/ended").is_empty()
                        && !line.text("/check").is_empty()
                        && line.text("/source/pod") == "client"
                        && line.text("/destination/address") == to.to_string()
                });
            }
        }
    }
}

/// A relay that is told to end lets open tunnels be for a while, and refuses no new one longer than its restart takes.
#[test]
fn a_relay_that_is_told_to_end_drains_first() {
    let cluster = cluster();
    for node in [NEAR, FAR] {
        let (mark, held) = (Mark::now(&cluster), hold(&cluster, "id/server:8080"));
        let start = Instant::now();
        cluster.bed().signal_agent(node, Part::Relay, Signal::SIGTERM).unwrap();
        for (held, end) in held.iter().zip(ends(&held, start, SOON)) {
            let (end, after) = end.unwrap_or_else(|| {
                let lines = mark.lines(&cluster);
                panic!("{node}: {held:?} did not end with its relay; logs: {lines:#?}")
            });
            println!("{node}: the end of a drained tunnel after {after:?}: {end}");
            assert!(
                after > DRAIN / 2,
                "{node}: an open tunnel goes on while relay drains: {end} after {after:?}"
            );
        }
        for to in cluster.resolve("id/server:8080") {
            mark.wait(&cluster, &format!("that relay of {node} was draining"), |line| {
                line.node() == node
                    && (line.text("/reason"), line.text("/ended")) == ("Draining", "Draining")
                    && !line.text("/check").is_empty()
                    && line.text("/destination/address") == to.to_string()
            });
        }
        whole(&cluster);
    }
}
