//! What goes on with the controller or a relay away.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use mesh_tests::{
    testbed::{Part, Testbed},
    trial::{Outcome, eventually},
};

use super::{Cluster, NEAR, SOON, cluster, scene::controller, traffic::Traffic, whole};

/// A controller that is away for as long as this lives.
struct Away<'a>(&'a Testbed);

impl<'a> Away<'a> {
    fn now(bed: &'a Testbed) -> Self {
        controller::hold(bed);
        Self(bed)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        controller::release(self.0);
    }
}

/// Issue: the controller stopped and started under traffic: 0 failed.
#[test]
fn the_controller_stops_and_starts_under_traffic() {
    let cluster = cluster();
    let traffic = Traffic::start(&cluster, "id/client", "id/server:8080");
    std::thread::sleep(Duration::from_millis(500));
    let away = Away::now(cluster.bed());
    std::thread::sleep(Duration::from_secs(2));
    drop(away);
    connected(&cluster);
    traffic.stop().assert_whole("the controller stopped and started");
}

fn connected(cluster: &Cluster) {
    for node in [NEAR, super::FAR] {
        eventually(&format!("{node} is connected"), SOON * 3, || {
            // A relay that has just been started does not answer yet.
            let scrape = cluster.bed().metrics(node).ok()?;
            scrape.lines().any(|line| line == "mesh_discovery_connected 1").then_some(())
        });
    }
}

/// Issue: a relay that starts with the controller away takes its snapshot: what was known is enforced and counted, on
/// one node nothing is missing, and what needs a key that nobody can give is refused with that reason.
#[test]
fn a_relay_starts_from_its_snapshot() {
    let cluster = cluster();
    let policy = "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
        metadata: {name: near, namespace: id}\n\
        spec: {selector: {matchLabels: {app: neighbour}}, ingress: [{from: [{serviceAccounts: [client]}]}]}\n";
    let before = SystemTime::now();
    cluster.put("near", policy);
    let denied = |to: std::net::SocketAddr| matches!(cluster.tcp("node:node-1", to), Outcome::Failed(_));
    assert!(cluster.resolve("id/neighbour:8080").into_iter().all(denied), "the policy is in force");
    let snapshot = cluster.bed().node(NEAR).run.join("snapshot");
    eventually("the snapshot has the policy", SOON, || {
        let written = fs::metadata(&snapshot).and_then(|file| file.modified()).ok()?;
        (written > before).then_some(())
    });
    let away = Away::now(cluster.bed());
    cluster.bed().hold_agent(NEAR, Part::Relay).unwrap();
    cluster.bed().release_agent(NEAR, Part::Relay).unwrap();
    eventually("relay is ready without a controller", SOON * 2, || {
        cluster.bed().admin(NEAR, "/status").ok().filter(|status| status.contains("\"ready\":true"))
    });
    for to in cluster.resolve("id/neighbour:8080") {
        assert!(matches!(cluster.tcp("id/client", to), Outcome::Answered(_)), "{to}");
        assert!(denied(to), "the policy is still in force: {to}");
    }
    let to = cluster.resolve("id/server:8080")[0];
    let outcome = cluster.tcp("id/client", to);
    let failed = outcome.failure();
    assert_ne!(failed.errno, "EPERM", "{failed:?}");
    cluster.is_logged("\"NoCertificate\"", &["id"]);
    drop(away);
    connected(&cluster);
    whole(&cluster);
    cluster.remove("near");
}

/// Issue: relay killed: new tunnelled connections that failed are counted and shown; established connections of one
/// node are untouched, and new ones are made.
#[test]
fn a_killed_relay_fails_new_tunnels_only_for_a_while() {
    let cluster = cluster();
    let near = Traffic::start(&cluster, "id/client", "id/neighbour:8080");
    let far = Traffic::start(&cluster, "id/client", "id/server:8080");
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    cluster.bed().signal_agent(NEAR, Part::Relay, nix::sys::signal::Signal::SIGKILL).unwrap();
    whole(&cluster);
    println!("tunnels are made again {:.1} s after relay was killed", start.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_millis(300));
    let far = far.stop();
    println!(
        "through the killed relay: {} answered, {} failed, {} held ones ended",
        far.ok,
        far.failed.len(),
        far.ended.len()
    );
    assert!(far.ok > 20, "{far:?}");
    assert!(!far.ended.is_empty(), "connections through a killed process end: {far:?}");
    near.stop().assert_whole("same-node connections beside a killed relay");
}

/// A relay that is told to end lets open tunnels be for a while, and refuses no new one longer than its restart takes.
#[test]
fn a_relay_that_is_told_to_end_drains_first() {
    let cluster = cluster();
    let to = cluster.resolve("id/server:8080")[0];
    let held = cluster.hold("id/client", to, Duration::from_millis(20));
    cluster.bed().signal_agent(NEAR, Part::Relay, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(held.end(Duration::from_millis(1000)), None, "an open tunnel goes on while relay drains");
    let end = held.end(Duration::from_secs(5)).expect("and ends with it");
    println!("the end of a drained tunnel: {end}");
    whole(&cluster);
}
