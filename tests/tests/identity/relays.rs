//! A relay that dies, is told to end or is away for a while, on the client's node or on the server's: what is open and
//! what is dialled meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use mesh_tests::{
    testbed::Part,
    trial::{Held, Trial},
};
use nix::sys::signal::Signal;

use super::{FAR, NEAR, cluster, told::Mark, traffic::Traffic, whole};

/// A connection to every address of the server that is kept busy, and has been for a while: until the other end has
/// answered, it is only accepted, and would wait for the next relay there.
fn hold(trial: &Trial, to: &str) -> Vec<Held> {
    let hold = |address| trial.hold("id/client", address, Duration::from_millis(20));
    let held = trial.resolve(to).into_iter().map(hold).collect();
    thread::sleep(Duration::from_millis(500));
    held
}

/// Issue: listeners are kept by wire: who connects while relay is away waits, and is served by the next one as who
/// he is.
#[test]
fn who_connects_while_relay_is_away_is_served_by_the_next_one() {
    let cluster = cluster();
    for node in [NEAR, FAR] {
        let trial = cluster.trial;
        trial.bed().hold_agent(node, Part::Relay).unwrap();
        let calls = thread::scope(|scope| {
            let call = |to| move || (to, trial.call("id/client", "tcp", to, &["--timeout", "15000"]));
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
        let ends: Vec<String> = held.iter().filter_map(|held| held.end(Duration::from_secs(5))).collect();
        assert!(
            ends.len() == held.len() && ends.iter().all(|end| end.contains("ECONNRESET")),
            "{node}: connections through a killed process are reset: {ends:?}"
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
        for held in &held {
            let early = held.end(Duration::from_millis(1100).saturating_sub(start.elapsed()));
            assert_eq!(early, None, "{node}: an open tunnel goes on while relay drains");
        }
        for held in &held {
            let end = held.end(Duration::from_secs(5).saturating_sub(start.elapsed()));
            let end = end.unwrap_or_else(|| {
                let (late, lines) = (held.end(Duration::from_secs(30)), mark.lines(&cluster));
                let took = start.elapsed();
                panic!("{node}: {held:?} did not end with its relay, but {late:?} after {took:?}; logs: {lines:#?}")
            });
            println!("{node}: the end of a drained tunnel after {:?}: {end}", start.elapsed());
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
