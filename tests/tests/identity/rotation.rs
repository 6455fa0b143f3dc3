//! Certificates and roots that are replaced while connections are made: not one fails.

use std::{
    borrow::Borrow,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use mesh_tests::{
    hbone::Leaf,
    trial::{Trial, eventually, played},
};
use serde_json::Value;

use super::{
    Cluster, PLAYED, SOON,
    agent::{Agent, Controller, not_before},
    cluster, hbone,
    joining::{ask_to_join, newcomer, post, request},
    short_lived,
    told::{Before, Case},
    traffic::Traffic,
};

/// Who a leaf of these tests is.
const OUTSIDE: &str = "spiffe://cluster.local/ns/id/sa/outside";

/// What the controller says of the authority.
pub(super) fn authority(trial: &Trial) -> Value {
    let answer = request(trial, "GET", "/ca");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("GET /ca: {error}: {answer}"))
}

/// Waits until another issuer signs than `before`, and nobody believes the root of before any longer.
pub(super) fn replaced(trial: &Trial, before: &Value) -> Value {
    let after = eventually("the authority is stable again", SOON * 4, || {
        let now = authority(trial);
        let stable = now["phase"].as_str().is_some_and(|phase| phase.eq_ignore_ascii_case("stable"));
        (stable && now["issuerKeyId"] != before["issuerKeyId"]).then_some(now)
    });
    assert_eq!(after["roots"], 1, "the old root is no longer believed: {after}");
    after
}

/// Refused since the root is another one.
pub(super) fn is_untrusted<T: Borrow<Trial>>(cluster: &Cluster<T>, server: IpAddr, words: &str) {
    let before = Before::now(cluster, Case::destination("id/server", "CertificateUntrusted"));
    let told = cluster.tunnel(server, words);
    assert!(told["status"].is_null() && told["failed"].is_string(), "{told}");
    let local: std::net::SocketAddr = told["local"].as_str().unwrap().parse().unwrap();
    before.is_told(local.ip());
}

/// The serial number of the server's certificate as a client sees it now.
fn shown(trial: &Trial, server: IpAddr) -> String {
    // Whoever shows no certificate sees the server's before it is refused.
    let told = hbone(trial, "id/outside", &super::dial(server, ""));
    told["peer"]["serial"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// Issue: rotation of the root, and renewal of every certificate by itself, under traffic: 0 failed, and what is open
/// stays open. What the old root's issuer has signed is worth nothing afterwards.
#[test]
fn the_root_and_every_certificate_are_replaced_under_traffic() {
    let cluster = short_lived();
    let servers = super::servers(&cluster);
    let old = cluster.issue("old", &Leaf { names: &[OUTSIDE], ..Leaf::default() });
    for server in &servers {
        assert_eq!(cluster.tunnel(*server, &old)["status"], 200, "before, it is good");
    }
    let before = authority(&cluster);
    let first: Vec<String> = servers.iter().map(|server| shown(&cluster, *server)).collect();
    let traffic = Traffic::start(&cluster, "id/client", "id/server:8080");
    for (server, first) in servers.iter().zip(&first) {
        eventually("the server's certificate is renewed", SOON * 2, || {
            (shown(&cluster, *server) != *first).then_some(())
        });
    }
    traffic.goes_on();
    let so_far = traffic.so_far();
    post(&cluster, "/ca/rotate");
    replaced(&cluster, &before);
    assert!(traffic.grew(&so_far), "no new connections between the command and its end: {so_far:?}");
    traffic.goes_on();
    println!("new connections before {so_far:?}, after {:?}", traffic.so_far());
    traffic.stop().assert_whole("renewal of certificates and rotation of the root");
    for server in servers {
        is_untrusted(&cluster, server, &old);
    }
}

/// Issue: clock skew: a certificate is valid from a while before it was issued.
#[test]
fn a_certificate_is_backdated_for_clocks_that_are_behind() {
    let cluster = cluster();
    cluster.put("fresh", played("fresh", "exec sleep infinity"));
    let join = ask_to_join(&cluster, PLAYED);
    let papers = cluster.papers();
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let before = now();
    let node = newcomer(&cluster, &join).join(&join, PLAYED, &papers, "fresh-node").unwrap();
    let agent = Agent::connect(&Controller::of(cluster.trial.bed()), &node);
    let uid = cluster.pod("played/fresh").uid;
    eventually("the controller knows the pod", SOON, || {
        agent.issue(&uid, &join.roots, &papers, "fresh-pod").ok()
    });
    // Each was issued between the two, at a time that nobody knows.
    let after = now();
    for file in ["fresh-node", "fresh-pod"] {
        let since = not_before(&papers.join(file).with_extension("crt"));
        let (least, most) = (before - since, after - since);
        assert!(most >= 60 && least <= 300, "{file}: issued just now, valid since {least} to {most} s");
    }
    cluster.remove("fresh");
}
