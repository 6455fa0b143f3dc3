//! What goes on with the controller away, and what a relay that starts meanwhile knows.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use mesh_tests::{
    testbed::{Part, Testbed},
    trial::{Outcome, Trial, eventually},
};
use serde_json::Value;

use super::{
    FAR, NEAR, SOON, cluster, is_reset,
    scene::controller,
    told::{Before, Case, Mark},
    traffic::Traffic,
    whole,
};

/// A controller that is away for as long as this lives.
pub(super) struct Away<'a>(&'a Testbed);

impl<'a> Away<'a> {
    pub(super) fn now(bed: &'a Testbed) -> Self {
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
    let away = Away::now(cluster.bed());
    std::thread::sleep(Duration::from_secs(2));
    traffic.goes_on();
    drop(away);
    connected(&cluster);
    traffic.goes_on();
    traffic.stop().assert_whole("the controller stopped and started");
}

/// Waits until both nodes have a stream from the controller.
pub(super) fn connected(trial: &Trial) {
    for node in [NEAR, FAR] {
        eventually(&format!("{node} is connected"), SOON * 2, || {
            // A relay that has just been started does not answer yet.
            let scrape = trial.bed().metrics(node).ok()?;
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
    let run = cluster.bed().node(NEAR).run;
    let snapshot = run.join("snapshot");
    eventually("the snapshot has the policy", SOON, || {
        let written = fs::metadata(&snapshot).and_then(|file| file.modified()).ok()?;
        (written > before).then_some(())
    });
    let mode = fs::metadata(&snapshot).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "the snapshot is its owner's alone");
    for node in [NEAR, FAR] {
        assert_eq!(keys_below(&cluster.bed().node(node).run), ["node.pem"], "{node}: keys on disk");
    }

    let away = Away::now(cluster.bed());
    super::relays::kill(&cluster, NEAR);
    cluster.bed().release_agent(NEAR, Part::Relay).unwrap();
    let status = eventually("relay is ready without a controller", SOON * 2, || {
        let status: Value = serde_json::from_str(&cluster.bed().admin(NEAR, "/status").ok()?).ok()?;
        (status["ready"] == true).then_some(status)
    });
    assert_eq!(status["discovery"]["restored"], true, "{status}");
    assert_eq!(status["discovery"]["connected"], false, "{status}");
    assert!(status["resources"]["PodPolicy"].as_u64() > Some(0), "{status}");
    for to in cluster.resolve("id/neighbour:8080") {
        assert!(matches!(cluster.tcp("id/client", to), Outcome::Answered(_)), "{to}");
        let mark = Mark::now(&cluster);
        assert!(denied(to), "the policy is still in force: {to}");
        mark.wait(&cluster, &format!("that the policy refused {to}"), |line| {
            line.node() == NEAR
                && line.text("/verdict") == "denied"
                && line.text("/policy") == "AccessPolicy/id/near"
                && line.text("/reason") == "NoRuleAllows"
                && line.text("/destination/pod") == "neighbour"
                && line.text("/destination/address") == to.to_string()
        });
    }
    for to in cluster.resolve("id/server:8080") {
        let told = Before::of_workload(&cluster, Case::source("NoCertificate"), "server");
        is_reset(
            "without a certificate",
            &cluster.call("id/client", "tcp", to, &["--timeout", super::PATIENT]),
        );
        told.is_told(to.ip());
    }
    drop(away);
    connected(&cluster);
    whole(&cluster);
    cluster.remove("near");
}

/// The files that hold a private key.
fn keys_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // A folder that is gone again holds nothing.
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.append(&mut keys_below(&path));
        } else if kind.is_file() {
            // What is gone again holds nothing.
            let content = fs::read(&path).unwrap_or_default();
            let has_key = content.windows(11).any(|window| window == b"PRIVATE KEY");
            found.extend(has_key.then(|| entry.file_name().to_string_lossy().into_owned()));
        }
    }
    found
}
