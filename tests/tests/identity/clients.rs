//! Peers that dial our tunnel with certificates that are not what they should be.

use std::time::Duration;

use mesh_tests::hbone::{Authority, Leaf, Validity};

use super::{
    Cluster, cluster, servers,
    told::{Before, Case, Mark},
};

/// What a foreign client calls itself when everything is right.
const RIGHT: &str = "spiffe://cluster.local/ns/id/sa/outside";

/// Refused before any request: no status, but the end of the connection, and the server's node says why.
fn is_refused(cluster: &Cluster, what: &str, credentials: &str, reason: &str) {
    for server in servers(cluster) {
        let before = Before::now(cluster, Case::destination("id/server", reason));
        let told = cluster.tunnel(server, credentials);
        assert!(told["status"].is_null() && told["answer"].is_null(), "{what}: {told}");
        assert!(told["failed"].is_string(), "{what}: {told}");
        let local: std::net::SocketAddr = told["local"].as_str().unwrap().parse().unwrap();
        before.is_told(local.ip());
    }
}

/// Served as whoever it says it is.
fn is_served(cluster: &Cluster, what: &str, credentials: &str) {
    for server in servers(cluster) {
        let mark = Mark::now(cluster);
        let told = cluster.tunnel(server, credentials);
        assert_eq!(told["status"], 200, "{what}: {told}");
        assert_eq!(told["peer"]["names"][0], "spiffe://cluster.local/ns/id/sa/server", "{what}: {told}");
        let local = told["local"].as_str().unwrap();
        let answer = told["answer"].as_str().unwrap();
        let peer = answer.split_whitespace().find_map(|word| word.strip_prefix("peer="));
        assert_eq!(peer, Some(local), "{what}: {told}");
        mark.wait(cluster, &format!("{RIGHT} was served"), |line| {
            line.text("/source/identity") == RIGHT
                && line.text("/source/address") == local
                && line.text("/destination/pod") == "server"
                && line.text("/proof") == "mtls"
        });
    }
}

/// What the others are compared with: a name of the trust domain, by the mesh's authority, valid now.
#[test]
fn a_foreign_client_whose_certificate_is_right_is_served() {
    let cluster = cluster();
    let words = cluster.issue("right", &Leaf { names: &[RIGHT], ..Leaf::default() });
    is_served(&cluster, "right", &words);
}

/// Issue: clock skew: a certificate that begins within the next minute is believed, one that begins later is not.
#[test]
fn a_client_whose_clock_is_ahead_is_served_within_a_minute() {
    let cluster = cluster();
    let ahead = |file, seconds| {
        let validity = Validity::Ahead(Duration::from_secs(seconds));
        cluster.issue(file, &Leaf { names: &[RIGHT], validity, ..Leaf::default() })
    };
    is_served(&cluster, "45 s ahead", &ahead("ahead", 45));
    is_refused(&cluster, "120 s ahead", &ahead("far-ahead", 120), "CertificateNotYetValid");
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
        let words = cluster.issue(file, &Leaf { names: &names, ..Leaf::default() });
        for server in servers(&cluster) {
            let told = cluster.tunnel(server, &words);
            assert!(told["status"].is_null() && told["failed"].is_string(), "{file}: {told}");
        }
    }
}
