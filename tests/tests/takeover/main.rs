//! A node's agent is replaced while traffic goes on, as a rolling restart of its DaemonSet does: the next pair of wire
//! and relay starts beside the one that is there, takes over, and only then is the earlier one told to end. No new
//! connection fails, and established ones end by themselves or when the earlier relay's drain is over.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod pair;
mod storms;

use std::{
    thread,
    time::{Duration, Instant},
};

use mesh_tests::{
    testbed::Part,
    trial::{Trial, echo, ends, eventually, namespace},
};
use nix::sys::signal::Signal;

use pair::{DRAIN, Pair};
use storms::Storms;

const NODES: [&str; 2] = ["node-1", "node-2"];

/// Longest wait for what should happen at once, on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(60);

/// Everything between these nodes goes through the tunnel.
const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {namespaces: [{names: [take], mtls: Required}], telemetry: {accessLog: {format: JSON, level: All}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

fn cluster() -> Trial {
    let trial = Trial::start("takeover", CLUSTER);
    let (client, server) = (echo("take", "client").on(NODES[0]), echo("take", "server").on(NODES[1]));
    let beside = echo("take", "beside").on(NODES[0]);
    trial.put_all("pods", &[&namespace("take", ("team", "take")), &client, &server, &beside]);
    for address in trial.resolve("take/server:8080") {
        eventually("the server answers through the tunnel", SOON, || {
            trial
                .run_in("take/client", &["mesh-echo", "client", "tcp", &address.to_string()])
                .contains("answer")
                .then_some(())
        });
    }
    trial
}

#[test]
fn no_connection_fails_while_agents_are_replaced_and_established_ones_are_drained() {
    let trial = cluster();
    // The testbed's own agents know nothing of lingering: a first replacement, in the quiet.
    let mut pairs = NODES.map(|node| {
        let pair = Pair::start(&trial, node, "first");
        pair.wait_ready();
        pair::end_testbeds_own(&trial, node);
        pair
    });
    for pair in &pairs {
        eventually("the next relay serves the metrics", SOON, || {
            trial.bed().metrics(pair.node()).ok().filter(|text| text.contains("mesh_"))
        });
    }
    let traffic = Storms::start(&trial, "take/client", &["take/server:8080", "take/beside:8080"]);
    for pair in &mut pairs {
        let node = pair.node();
        let held: Vec<_> = trial
            .resolve("take/server:8080")
            .into_iter()
            .map(|address| trial.hold("take/client", address, Duration::from_millis(20)))
            .collect();
        traffic.goes_on();
        let start = Instant::now();
        let next = Pair::start(&trial, node, "second");
        next.wait_ready();
        let ready = start.elapsed();
        traffic.goes_on();
        held.iter().for_each(mesh_tests::trial::Held::is_open);
        assert!(pair.is_running(), "{node}: the earlier agent stays until it is told to end");

        let start = Instant::now();
        pair.tell(Signal::SIGTERM);
        thread::sleep(DRAIN / 2);
        let running = pair.is_running();
        // What is said of a time is said only if that is when it was looked at.
        if start.elapsed() < DRAIN {
            assert!(running, "{node}: wire stays for its relay's open connections");
        }
        for (held, end) in held.iter().zip(ends(&held, start, SOON)) {
            let (end, after) = end.unwrap_or_else(|| panic!("{node}: {held:?} did not end"));
            println!("{node}: an established connection ended {after:?} after SIGTERM: {end}");
            assert!(
                after > DRAIN - Duration::from_millis(200),
                "{node}: before the drain was over: {after:?}"
            );
        }
        pair.wait_gone(SOON);
        traffic.goes_on();
        println!(
            "{node}: the next agent was ready after {ready:?}, the earlier one gone {:?} after SIGTERM",
            start.elapsed()
        );
        *pair = next;
    }
    let (ok, failed) = traffic.stop();
    println!("new connections meanwhile: {ok} answered, {} failed: {failed:?}", failed.len());
    if !failed.is_empty() {
        println!("{}", pairs.each_ref().map(Pair::log).join("\n"));
        for (node, line) in trial.access_log() {
            if !line.contains("\"Finished\"") {
                println!("{node}: {line}");
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert!(ok > 1000, "{ok}");
}

/// The next agent is there but does not come up: the earlier one goes on with everything, and takes back what it gave.
#[test]
fn an_agent_whose_successor_dies_goes_on() {
    let trial = cluster();
    let node = NODES[0];
    let first = Pair::start(&trial, node, "first");
    first.wait_ready();
    pair::end_testbeds_own(&trial, node);
    let traffic = Storms::start(&trial, "take/client", &["take/server:8080"]);
    let mut second = Pair::wire_alone(&trial, node, "second");
    second.wait_in_force();
    traffic.goes_on();
    second.tell(Signal::SIGKILL);
    second.wait_gone(SOON);
    traffic.goes_on();
    // With nobody in its place for long it ends, to be started anew; its relay has never stopped.
    first.wait_wire_ended(SOON);
    traffic.goes_on();
    let mut again = Pair::wire_of(&trial, node, "first");
    again.wait_in_force();
    first.wait_ready();
    traffic.goes_on();
    let (ok, failed) = traffic.stop();
    println!("new connections meanwhile: {ok} answered, {} failed: {failed:?}", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    again.tell(Signal::SIGKILL);
    assert!(trial.bed().agent(node, Part::Relay).is_err(), "the testbed's own stays away");
}
