//! Nodes that come and go, restarts, and what lies in the files.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use super::Stage;
use crate::ca::JoinFile;

#[test]
fn a_removed_node_is_refused_within_ten_seconds_and_comes_back_with_a_new_join_file() {
    let mut stage = Stage::new();
    let n1 = stage.join("n1");
    assert!(stage.trust().admit(&n1, stage.now).is_ok());
    stage.demand.nodes.remove("n1");
    stage.step(0);
    assert!(stage.trust().admit(&n1, stage.now).is_ok(), "a file that is being replaced is no removal");
    stage.step(5);
    let refusal = stage.trust().admit(&n1, stage.now).unwrap_err().to_string();
    assert!(refusal.contains("node n1 has been removed since it joined"), "{refusal}");
    assert_eq!(stage.trust().bundle().revoked, [n1.tag.bytes().to_vec()]);
    assert!(stage.issue(&n1, "u-a").is_err());

    stage.demand.nodes.insert("n1".to_owned());
    stage.step(1);
    let again = stage.join("n1");
    assert_ne!(again.tag, n1.tag);
    assert!(stage.trust().admit(&again, stage.now).is_ok() && stage.trust().admit(&n1, stage.now).is_err());
    // No certificate of the first joining is left to refuse.
    stage.step(24 * 3600 + 10);
    assert!(stage.trust().bundle().revoked.is_empty());
    assert!(stage.trust().admit(&n1, stage.now).is_err());
}

#[test]
fn a_restart_keeps_the_authority_epochs_revocations_and_tokens() {
    let mut stage = Stage::new();
    let n1 = stage.join("n1");
    stage.demand.nodes.remove("n1");
    stage.step(0);
    stage.step(5);
    stage.demand.nodes.insert("n1".to_owned());
    stage.step(0);
    let again = stage.join("n1");
    let (n2, before) = (stage.join_file("n2").token, stage.trust());
    let mut stage = stage.restarted();
    assert_eq!(stage.trust().bundle(), before.bundle());
    assert!(stage.trust().admit(&n1, stage.now).is_err() && stage.trust().admit(&again, stage.now).is_ok());
    assert_eq!(stage.join_file("n2").token, n2, "still waiting for its node");
    assert!(!stage.has_join_file("n1"));
    assert_eq!(stage.authority.report(stage.now).origin, "generated");
    assert_eq!(stage.authority.identities(stage.now).identities.len(), 1);
    // A node that went while the controller was away is noticed.
    stage.demand.nodes.remove("n1");
    let mut stage = stage.restarted();
    stage.step(5);
    assert!(stage.trust().admit(&again, stage.now).is_err());
    assert!(stage.authority.join("n2", &n2, &super::csr(), stage.now).is_ok());
}

#[test]
fn a_lost_join_file_is_written_anew_and_strangers_are_cleared_away() {
    let mut stage = Stage::new();
    let old = stage.join_file("n1").token;
    let join = stage.directory.path().join("join");
    std::fs::remove_file(join.join("n1")).unwrap();
    std::fs::write(join.join("n7"), "{}").unwrap();
    stage.step(1);
    assert_ne!(stage.join_file("n1").token, old);
    assert!(!stage.has_join_file("n7"));
}

#[test]
fn only_the_owner_may_read_and_no_token_is_kept() {
    let stage = Stage::new();
    let mode = |path: &str| {
        std::fs::metadata(stage.directory.path().join(path)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("ca"), mode("join")), (0o700, 0o711));
    for file in ["ca/state.json", "ca/issued", "ca/tls.key", "ca/tls.crt", "ca/ca.crt", "join/n1"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    let state = std::fs::read_to_string(stage.directory.path().join("ca/state.json")).unwrap();
    let JoinFile { version, node, token, trust_domain, roots } = stage.join_file("n1");
    assert_eq!((version, node.as_str(), trust_domain.as_str()), (1, "n1", "cluster.local"));
    assert!(token.len() == 64 && !state.contains(&token));
    assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 1);
    assert!(!format!("{:?}", stage.authority).contains("PRIVATE"));
}

#[test]
fn a_state_that_cannot_be_read_stops_the_controller_with_what_to_do() {
    let stage = Stage::new();
    std::fs::write(stage.directory.path().join("ca/state.json"), "{").unwrap();
    let directories = stage.authority.directories.clone();
    let error = crate::ca::Authority::open(directories, stage.placements.clone(), stage.now).unwrap_err();
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[test]
fn nodes_keep_being_served_when_the_trust_domain_changes() {
    let mut stage = Stage::new();
    let n1 = stage.join("n1");
    stage.demand.trust_domain = "example.org".to_owned();
    stage.step(1);
    assert_eq!(stage.authority.report(stage.now).problem, None);
    assert_eq!(stage.trust().bundle().trust_domain, "example.org");
    assert!(stage.trust().admit(&n1, stage.now).is_ok(), "so that it can renew");
    let renewed = stage.authority.renew(&n1, &super::csr(), stage.now).unwrap();
    assert_eq!(super::peer(&renewed).id.to_string(), "spiffe://example.org/mesh/node/n1");
    assert_eq!(stage.join_file("n2").trust_domain, "example.org");
    stage.demand.trust_domain = "third.org".to_owned();
    stage.step(1);
    assert!(stage.trust().admit(&n1, stage.now).unwrap_err().to_string().contains("another trust domain"));
}

#[tokio::test]
async fn a_lease_ends_with_the_node_or_the_certificate() {
    let mut stage = Stage::new();
    let n1 = std::sync::Arc::new(stage.join("n1"));
    let mut lease = stage.authority.lease(n1.clone()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), lease.lost()).await.is_err());
    stage.demand.nodes.remove("n1");
    stage.step(0);
    stage.step(5);
    assert!(lease.lost().await.to_string().contains("has been removed"));
    let n2 = stage.join("n2");
    let late = std::sync::Arc::new(crate::ca::Peer { not_after: crate::ca::Timestamp::now(), ..n2 });
    let mut lease = stage.authority.lease(late).unwrap();
    let lost = tokio::time::timeout(Duration::from_secs(5), lease.lost()).await.unwrap();
    assert!(lost.to_string().contains("the certificate of node n2 expired at"));
}
