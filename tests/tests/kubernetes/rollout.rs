//! A rolling restart of the agents under traffic: the next agent of a node takes over from the one that is there.

use std::{
    thread,
    time::{Duration, Instant},
};

use mesh_tests::cluster::trial::{PATIENCE, TIMEOUT};

use crate::{
    scene::{MESH, Mesh, mesh},
    traffic::{Count, Traffic},
};

const PAIR: &str = include_str!("pair.yaml");

/// How often to look.
const EVERY: Duration = Duration::from_millis(500);

/// The agents' pods, and whether each is ending.
fn agents(mesh: &Mesh) -> Vec<(String, bool)> {
    let path =
        "--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{'\\n'}{end}";
    let label = "--selector=app.kubernetes.io/name=mesh-agent";
    let said = mesh.ask(&["get", "pods", "--namespace", MESH, label, path]);
    let pods = said.lines().filter_map(|line| line.split_once(' '));
    pods.map(|(name, ends)| (name.to_owned(), !ends.is_empty())).collect()
}

/// How long relay lets open connections finish, as its container is told.
fn drain(mesh: &Mesh) -> Duration {
    let path = "--output=jsonpath={.spec.template.spec.containers[?(@.name=='relay')].args}";
    let said = mesh.ask(&["get", "daemonset/mesh-agent", "--namespace", MESH, path]);
    let seconds =
        said.split_once("--drain=").and_then(|(_, rest)| rest.split_once('s')).map(|(digits, _)| digits);
    Duration::from_secs(
        seconds.and_then(|digits| digits.parse().ok()).expect("relay has a --drain in seconds"),
    )
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn agents_are_replaced_one_by_one_and_no_new_connection_fails() {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Required}}");
    let scene = mesh.scene("rollout", &PAIR.replace("NAMESPACE", "rollout"));
    for pod in ["pod/client", "pod/server"] {
        scene.wait_enrolled(pod);
    }
    let mut traffic = ["-4", "-6"].map(|family| Traffic::start(&scene, "client", family, "server:9000"));
    let begun: [Count; 2] = traffic.each_mut().map(Traffic::count);
    let (old, drain) = (agents(mesh), drain(mesh));

    mesh.ask(&["rollout", "restart", "daemonset/mesh-agent", "--namespace", MESH]);
    let start = Instant::now();
    let (mut told, mut first_end, mut most) = (None, None, 0);
    let mut looked = start;
    loop {
        let before = std::mem::replace(&mut looked, Instant::now());
        let now = agents(mesh);
        most = most.max(now.len());
        if told.is_none() && now.iter().any(|(_, ends)| *ends) {
            // At the last look it was not: it was told since then.
            told = Some(before);
        }
        for (traffic, begun) in traffic.iter_mut().zip(&begun) {
            if traffic.count().broken > begun.broken && first_end.is_none() {
                first_end = Some(Instant::now());
            }
        }
        if now.iter().all(|(name, ends)| !ends && !old.iter().any(|(before, _)| before == name)) {
            break;
        }
        assert!(start.elapsed() < PATIENCE * 2, "the agents are not replaced: {now:?}");
        thread::sleep(EVERY);
    }
    mesh.ask(&["rollout", "status", "daemonset/mesh-agent", "--namespace", MESH, TIMEOUT]);
    println!("{} agents replaced in {:.0?}, at most {most} at a time", old.len(), start.elapsed());
    assert!(most > old.len(), "the next agent starts beside the one that is there");
    thread::sleep(Duration::from_secs(2));

    for (traffic, begun) in traffic.iter_mut().zip(begun) {
        let now = traffic.count();
        println!(
            "{} new connections, {} failed; {} established ones ended, {} are open",
            now.connections - begun.connections,
            now.failed - begun.failed,
            now.broken - begun.broken,
            now.open
        );
        assert!(now.connections > begun.connections);
        assert_eq!(now.failed, begun.failed, "{}", now.failures);
    }
    let (told, first_end) =
        (told.expect("agents were told to end"), first_end.expect("established ones ended"));
    let after = first_end.saturating_duration_since(told);
    println!(
        "the first established connection ended {after:.1?} after its agent was told to; the drain is {drain:?}"
    );
    assert!(after >= drain, "an established connection ended {after:?} after, before the drain was over");
}
