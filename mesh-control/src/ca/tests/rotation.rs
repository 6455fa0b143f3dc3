//! The replacement of issuers and roots.

use std::time::Duration;

use super::Stage;
use crate::ca::{Peer, Phase};

const HOUR: u64 = 3600;

fn phase(stage: &Stage) -> (Phase, usize) {
    let report = stage.authority.report(stage.now);
    assert_eq!(report.problem, None);
    (report.phase, report.roots)
}

fn connect(stage: &mut Stage, node: &str) -> Peer {
    stage.streams.connected.insert(node.to_owned());
    stage.join(node)
}

#[test]
fn a_root_is_replaced_with_both_believed_on_the_way() {
    let mut stage = Stage::new();
    let (n1, n2) = (connect(&mut stage, "n1"), connect(&mut stage, "n2"));
    stage.issue(&n1, "u-a").unwrap();
    let first = stage.trust().bundle().clone();
    stage.rotate();
    assert!(stage.authority.rotate(stage.now).unwrap_err().to_string().contains("being replaced already"));

    // While a node has not acknowledged both, the old one signs.
    stage.streams.unaware = 1;
    stage.step(500);
    assert_eq!(phase(&stage), (Phase::Distributing, 2));
    assert_eq!(stage.trust().bundle().issuer_key_id, first.issuer_key_id);
    assert_eq!(stage.authority.report(stage.now).waiting_for.len(), 1);
    stage.streams.unaware = 0;
    stage.step(1);
    assert_eq!(phase(&stage), (Phase::Reissuing, 2));
    assert_ne!(stage.trust().bundle().issuer_key_id, first.issuer_key_id);
    assert_ne!(stage.trust().bundle().roots[0], first.roots[0], "the new one first");

    // Until everything that is in use is of the new one, both are believed.
    stage.step(60);
    assert_eq!(phase(&stage), (Phase::Reissuing, 2));
    stage.authority.renew(&n1, &super::csr(), stage.now).unwrap();
    stage.authority.renew(&n2, &super::csr(), stage.now).unwrap();
    stage.step(60);
    assert_eq!(stage.authority.report(stage.now).waiting_for, ["1 certificates of the old root"]);
    stage.issue(&n1, "u-a").unwrap();
    stage.step(1);
    assert_eq!(phase(&stage).0, Phase::Reissuing, "connections are being handed over");
    stage.step(10);
    assert_eq!(phase(&stage), (Phase::Stable, 1));
    assert!(!stage.trust().bundle().roots.contains(&first.roots[0]));
    assert_eq!(stage.authority.report(stage.now).generation, 2);
}

#[test]
fn what_is_not_renewed_holds_the_old_root_until_it_expires_or_is_not_in_use() {
    let mut stage = Stage::new();
    let n1 = connect(&mut stage, "n1");
    stage.issue(&n1, "u-a").unwrap();
    stage.rotate();
    stage.step(1);
    stage.authority.renew(&n1, &super::csr(), stage.now).unwrap();
    stage.step(HOUR);
    assert_eq!(phase(&stage).0, Phase::Reissuing);
    // The pod ends: nobody uses its certificate.
    stage.place("a", "n1", "web", true, true);
    assert!(stage.until_stable() <= 12);

    stage.place("a", "n1", "web", true, false);
    stage.issue(&n1, "u-a").unwrap();
    stage.rotate();
    let took = stage.until_stable();
    assert!((23 * HOUR..25 * HOUR).contains(&took), "{took}");
}

#[test]
fn every_step_survives_a_restart() {
    let mut stage = Stage::new();
    let n1 = connect(&mut stage, "n1");
    stage.issue(&n1, "u-a").unwrap();
    stage.rotate();
    stage.streams.unaware = 1;
    stage.step(1);
    let distributing = stage.trust().bundle().clone();
    let mut stage = stage.restarted();
    assert_eq!((phase(&stage).0, stage.trust().bundle()), (Phase::Distributing, &distributing));
    let waiting = stage.join_file("n2");
    assert_eq!(waiting.roots.matches("BEGIN").count(), 2, "whoever joins later must know the new root");
    stage.streams.unaware = 0;
    stage.step(1);
    let reissuing = stage.trust().bundle().clone();
    let mut stage = stage.restarted();
    assert_eq!((phase(&stage).0, stage.trust().bundle()), (Phase::Reissuing, &reissuing));
    stage.step(600);
    assert_eq!(phase(&stage).0, Phase::Reissuing, "what was issued before the restart is known");
    stage.authority.renew(&n1, &super::csr(), stage.now).unwrap();
    stage.issue(&n1, "u-a").unwrap();
    stage.until_stable();
    let waiting_now = stage.join_file("n2");
    assert_eq!((waiting_now.roots.matches("BEGIN").count(), &waiting_now.token), (1, &waiting.token));
    let stage = stage.restarted();
    assert_eq!(phase(&stage), (Phase::Stable, 1));
    assert_eq!(stage.authority.report(stage.now).origin, "generated", "its own files are no wish");
}

#[test]
fn an_absent_node_is_waited_for_a_minute() {
    let mut stage = Stage::new();
    stage.join("n1");
    stage.rotate();
    stage.step(30);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    assert_eq!(stage.authority.report(stage.now).waiting_for, ["1 nodes that are not connected"]);
    stage.step(30);
    assert_eq!(phase(&stage).0, Phase::Reissuing);
}

#[test]
fn a_controller_that_has_just_started_waits_for_the_nodes_to_connect_again() {
    let mut stage = Stage::new();
    connect(&mut stage, "n1");
    stage.streams.unaware = 1;
    stage.rotate();
    stage.step(500);
    // Everybody's stream ends with the process, so that nobody is connected and unaware.
    stage.streams = super::Streams::default();
    let mut stage = stage.restarted();
    assert_eq!(phase(&stage).0, Phase::Distributing);
    stage.step(1);
    stage.step(30);
    assert_eq!(phase(&stage).0, Phase::Distributing, "the node knows the old root only");
    assert_eq!(stage.authority.report(stage.now).waiting_for, ["1 nodes that are not connected"]);
    // It comes, and is told before anything is signed under the new root.
    stage.streams.connected.insert("n1".to_owned());
    stage.streams.unaware = 1;
    stage.step(300);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    stage.streams.unaware = 0;
    stage.step(1);
    assert_eq!(phase(&stage).0, Phase::Reissuing);
}

#[test]
fn a_restart_does_not_wait_for_an_absent_node_for_ever() {
    let mut stage = Stage::new();
    stage.join("n1");
    stage.rotate();
    let mut stage = stage.restarted();
    stage.step(59);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    stage.step(1);
    assert_eq!(phase(&stage).0, Phase::Reissuing);
}

#[test]
fn a_node_that_drops_its_stream_for_a_moment_is_waited_for() {
    let mut stage = Stage::new();
    connect(&mut stage, "n1");
    stage.streams.unaware = 1;
    stage.rotate();
    stage.step(500);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    // It goes without having acknowledged.
    let away = super::Streams::default();
    let there = std::mem::replace(&mut stage.streams, away);
    stage.step(1);
    stage.step(20);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    stage.streams = there;
    stage.step(1);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    // For a minute, each time anew.
    stage.streams = super::Streams::default();
    stage.step(1);
    stage.step(59);
    assert_eq!(phase(&stage).0, Phase::Distributing);
    stage.step(1);
    assert_eq!(phase(&stage).0, Phase::Reissuing);
}

#[test]
fn issuers_are_renewed_under_their_root_and_roots_before_they_expire() {
    let mut stage = Stage::new();
    let first = stage.trust().bundle().clone();
    stage.step(2160 * HOUR * 2 / 3 + 2);
    stage.step(1);
    let second = stage.trust().bundle().clone();
    assert_eq!(second.roots, first.roots);
    assert_ne!(second.issuer_key_id, first.issuer_key_id);
    // What it signs does not outlive it, and it does not outlive the root.
    let (mut roots, mut issuers) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for _ in 0..200 {
        stage.step(500 * HOUR);
        stage.until_stable();
        let report = stage.authority.report(stage.now);
        assert_eq!(report.problem, None);
        assert!(report.issuer_expires > stage.now.after(Duration::from_secs(24 * HOUR)), "{report:?}");
        assert!(report.issuer_expires <= report.root_expires);
        roots.insert(stage.trust().bundle().roots.clone());
        issuers.insert(report.issuer_key_id);
    }
    assert!(roots.len() == 2 && issuers.len() > 50, "{} {}", roots.len(), issuers.len());
}
