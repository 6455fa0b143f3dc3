//! SEMANTICS 9.4: what was issued to a node that has been removed is refused within 10 seconds, everywhere.

use std::time::Duration;

use mesh_tests::trial::eventually;

use super::agent::JoinFile;
use super::{
    agent::{Agent, Controller},
    cluster,
    joining::newcomer,
};

/// A node of its own for this test: it has no agent, and the test is its thief.
const STOLEN: &str =
    "{apiVersion: v1, kind: Node, metadata: {name: stolen, labels: {testbed.mesh.internal/agent: absent}}}\n";

#[test]
fn certificates_of_a_removed_node_are_refused_within_10_seconds() {
    let cluster = cluster();
    let pod = super::servers::played("stolen", "exec sleep infinity")
        .replace("nodeName: node-3", "nodeName: stolen");
    cluster.put("stolen", format!("{STOLEN}---\n{pod}"));
    let path = cluster.bed().layout().join_file("stolen");
    eventually("the new node may join", Duration::from_secs(10), || path.exists().then_some(()));
    let join = JoinFile::read(&path);
    let papers = cluster.papers();
    let node = newcomer(&cluster, &join).join(&join, "stolen", &papers, "thief").unwrap();
    let agent = Agent::connect(&Controller::of(cluster.trial.bed()), &node);
    let uid = cluster.pod("played/stolen").uid;
    eventually("the controller knows the pod", super::SOON, || {
        agent.issue(&uid, &join.roots, &papers, "loot").ok()
    });
    let words = cluster.words("loot");
    assert_eq!(cluster.tunnel(&words)["status"], 200, "before, it is good");

    // One that is open when it happens ends as well.
    let until = papers.join("never");
    let server = cluster.pod("id/server").addresses[0];
    let line = format!(
        "mesh-hbone client {server}:15008 --authority {server}:8080 {words} --until {}",
        until.display()
    );
    let held = std::thread::scope(|scope| {
        let (trial, argv) = (cluster.trial, line.split_whitespace().collect::<Vec<_>>());
        let held = scope.spawn(move || trial.run_in("id/outside", &argv));
        std::thread::sleep(Duration::from_millis(500));
        cluster.remove("stolen");
        eventually("its certificates are refused", Duration::from_secs(12), || {
            cluster.tunnel(&words)["status"].is_null().then_some(())
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !held.is_finished() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::write(&until, "").unwrap();
        held.join().unwrap()
    });
    assert!(held.contains("held: "), "the open tunnel was ended: {held}");
    cluster.is_logged("\"CertificateRevoked\"", &["id"]);
    assert!(agent.issue(&uid, &join.roots, &papers, "more").is_err(), "nor does it get another");
    std::fs::remove_file(until).unwrap();
}
