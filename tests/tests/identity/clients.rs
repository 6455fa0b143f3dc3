//! Peers that dial our tunnel with certificates that are not what they should be.

use mesh_tests::hbone::{Authority, Leaf, Validity};

use super::{Cluster, SOON, cluster};

/// What a foreign client calls itself when everything is right.
const RIGHT: &str = "spiffe://cluster.local/ns/id/sa/outside";

/// Refused before any request: no status, but the end of the connection, and the reason in the server's log.
fn is_refused(cluster: &Cluster, what: &str, credentials: &str, reason: &str) {
    let before = count(cluster, reason);
    let told = cluster.tunnel(credentials);
    assert!(told["status"].is_null() && told["answer"].is_null(), "{what}: {told}");
    assert!(told["failed"].is_string(), "{what}: {told}");
    mesh_tests::trial::eventually(&format!("{what} is logged as {reason}"), SOON, || {
        (count(cluster, reason) > before).then_some(())
    });
}

fn count(cluster: &Cluster, reason: &str) -> usize {
    cluster.access_log().iter().filter(|(_, line)| line.contains(&format!("\"{reason}\""))).count()
}

/// What the others are compared with: a name of the trust domain, by the mesh's authority, valid now.
#[test]
fn a_foreign_client_whose_certificate_is_right_is_served() {
    let cluster = cluster();
    let told = cluster.tunnel(&cluster.issue("right", &Leaf { names: &[RIGHT], ..Leaf::default() }));
    assert_eq!(told["status"], 200, "{told}");
    assert_eq!(told["peer"]["names"][0], "spiffe://cluster.local/ns/id/sa/server", "{told}");
    let local = told["local"].as_str().unwrap();
    assert!(told["answer"].as_str().unwrap().contains(&format!("peer={local}")), "{told}");
    cluster.is_logged(RIGHT, &["id", "server"]);
}

/// Issue: each way to be wrong is refused, and has its own reason.
#[test]
fn every_certificate_that_is_not_right_is_refused_with_its_own_reason() {
    let cluster = cluster();
    let now = |names| Leaf { names, ..Leaf::default() };
    for (what, file, leaf, reason) in [
        (
            "another trust domain",
            "domain",
            now(&["spiffe://elsewhere.example/ns/id/sa/outside"]),
            "TrustDomainMismatch",
        ),
        ("expired", "expired", Leaf { validity: Validity::Expired, ..now(&[RIGHT]) }, "CertificateExpired"),
        (
            "not yet valid",
            "early",
            Leaf { validity: Validity::NotYet, ..now(&[RIGHT]) },
            "CertificateNotYetValid",
        ),
    ] {
        is_refused(&cluster, what, &cluster.issue(file, &leaf), reason);
    }
    let authority = cluster.authority();
    authority.self_signed(&cluster.papers(), "self", &now(&[RIGHT])).unwrap();
    is_refused(&cluster, "self-signed", &cluster.words("self"), "CertificateUntrusted");
    Authority::stranger().unwrap().issue(&cluster.papers(), "stranger", &now(&[RIGHT])).unwrap();
    let stem = cluster.papers().join("stranger").display().to_string();
    let words = format!("--cert {stem}.crt --key {stem}.key");
    is_refused(&cluster, "another authority", &words, "CertificateUntrusted");
    is_refused(&cluster, "no certificate", "", "NoClientCertificate");
}

/// SEMANTICS 9.3, 9.4: exactly one name, and a workload's: the mesh's own parts are no workload.
#[test]
fn names_that_are_no_workloads_are_refused() {
    let cluster = cluster();
    for (file, names) in [
        ("node", vec!["spiffe://cluster.local/mesh/node/node-2"]),
        ("control", vec!["spiffe://cluster.local/mesh/control"]),
        ("two", vec![RIGHT, "spiffe://cluster.local/ns/id/sa/server"]),
        ("none", vec![]),
    ] {
        let told = cluster.tunnel(&cluster.issue(file, &Leaf { names: &names, ..Leaf::default() }));
        assert!(told["status"].is_null() && told["failed"].is_string(), "{file}: {told}");
    }
}
