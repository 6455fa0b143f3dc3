//! Certificates and roots that are replaced while connections are made: not one fails.

use std::time::Duration;

use mesh_tests::{
    testbed::Testbed,
    trial::{Trial, eventually},
};
use serde_json::Value;

use super::{cluster, joining::post, traffic::Traffic};

fn authority(bed: &Testbed) -> Value {
    use std::io::{Read as _, Write as _};
    let socket = bed.layout().run().join("control.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    write!(stream, "GET /ca HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("GET /ca: {error}: {answer}"))
}

/// The server's certificate as a client sees it now: its serial number and since when it is valid.
fn shown(trial: &Trial) -> (String, i64) {
    let server = trial.pod("id/server").addresses[0];
    // Whoever shows no certificate sees the server's before it is refused.
    let words = format!("client {server}:15008 --authority {server}:8080");
    let told = super::hbone(trial, "id/outside", &words);
    let serial = told["peer"]["serial"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
    (serial, told["peer"]["not_before"].as_i64().unwrap())
}

/// A testbed of its own: every node of it follows, and certificates are short-lived.
const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {ca: {workloadTTL: 30s}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: id}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

/// Issue: rotation of the root, and renewal of every certificate by itself, under traffic: 0 failed, and what is open
/// stays open.
#[test]
fn the_root_and_every_certificate_are_replaced_under_traffic() {
    let _turn = cluster();
    let trial = Trial::start("rotation", CLUSTER);
    super::put_base(&trial);
    super::whole(&trial);
    let (before, first) = (authority(trial.bed()), shown(&trial));
    let traffic = Traffic::start(&trial, "id/client", "id/server:8080");
    eventually("the server's certificate is renewed", Duration::from_secs(40), || {
        (shown(&trial).0 != first.0).then_some(())
    });
    post(&trial, "/ca/rotate");
    let after = eventually("the authority is stable again", Duration::from_secs(60), || {
        let now = authority(trial.bed());
        let stable = now["phase"].as_str().is_some_and(|phase| phase.eq_ignore_ascii_case("stable"));
        (stable && now["issuerKeyId"] != before["issuerKeyId"]).then_some(now)
    });
    std::thread::sleep(Duration::from_millis(500));
    traffic.stop().assert_whole("renewal of certificates and rotation of the root");
    assert_eq!(after["roots"], 1, "the old root is no longer believed: {after}");
}

/// Issue: clock skew: a certificate is valid from a while before it was issued.
#[test]
fn a_certificate_is_backdated_for_clocks_that_are_behind() {
    let cluster = cluster();
    let (_, not_before) = shown(&cluster);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let age = i64::try_from(now).unwrap() - not_before;
    assert!(age >= 30, "valid since {age} s");
}
