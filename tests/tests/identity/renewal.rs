//! Certificates that cannot be renewed: they count until they end, and not longer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_tests::trial::{Held, Trial, eventually};
use serde_json::Value;

use super::{
    FAR, NEAR, SOON,
    away::{Away, connected},
    is_reset,
    joining::request,
    short_lived,
    told::{Before, Case, Mark},
    traffic::Traffic,
    whole,
};

/// What both ends' certificates must have left when the controller goes.
const LEFT: Duration = Duration::from_secs(21);

/// How long the controller is away under traffic: well past half of a certificate's life, when it should be renewed.
const AWAY: Duration = Duration::from_secs(18);

/// How long the first certificate of the client and the server still counts.
fn left(trial: &Trial) -> Duration {
    let answer = request(trial, "GET", "/identities");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let said: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let is_end = |issued: &&Value| {
        ["client", "server"]
            .map(|name| format!("spiffe://cluster.local/ns/id/sa/{name}"))
            .iter()
            .any(|id| issued["identity"] == id.as_str())
    };
    let issued = said["identities"].as_array().into_iter().flatten().filter(is_end);
    let ends: Vec<u64> = issued.filter_map(|issued| issued["expires"].as_u64()).collect();
    assert_eq!(ends.len(), 2, "{said}");
    let until = |end: u64| (UNIX_EPOCH + Duration::from_secs(end)).duration_since(SystemTime::now());
    ends.into_iter().map(|end| until(end).unwrap_or_default()).min().unwrap_or_default()
}

/// SEMANTICS 9.3 and DESIGN: with nobody to renew them, certificates carry traffic to their end; then there are none,
/// what is open goes on, and with the controller back all is as before.
#[test]
fn traffic_goes_on_with_the_certificates_there_are_until_they_end() {
    let cluster = short_lived();
    let traffic = Traffic::start(&cluster, "id/client", "id/server:8080");
    let held: Vec<_> = cluster
        .resolve("id/server:8080")
        .into_iter()
        .map(|to| cluster.hold("id/client", to, Duration::from_millis(50)))
        .collect();
    eventually("both ends' certificates are fresh", SOON * 4, || (left(&cluster) >= LEFT).then_some(()));
    let away = Away::now(cluster.bed());
    std::thread::sleep(AWAY);
    traffic.goes_on();
    traffic.stop().assert_whole("certificates that could not be renewed for 18 s");

    let targets = cluster.resolve("id/server:8080");
    let mark = Mark::now(&cluster);
    eventually("the client's certificate has ended", SOON * 3, || {
        let _ = cluster.tcp("id/client", targets[0]);
        let ended = |line: &super::told::Line| line.text("/reason") == "NoCertificate" && line.node() == NEAR;
        mark.lines(&cluster).iter().any(ended).then_some(())
    });
    for to in &targets {
        let told = Before::of_workload(&cluster, Case::source("NoCertificate"), "server");
        is_reset("without a certificate", &cluster.call("id/client", "tcp", to, &["--timeout", "9000"]));
        told.is_told(to.ip());
    }
    held.iter().for_each(Held::is_open);

    drop(away);
    // The nodes' own certificates have ended as well, so that they must join anew.
    for node in [NEAR, FAR] {
        invite(&cluster, node);
    }
    let start = std::time::Instant::now();
    connected(&cluster);
    whole(&cluster);
    println!("whole again {:.1} s after the nodes may join", start.elapsed().as_secs_f64());
    held.iter().for_each(Held::is_open);
}

/// Asks for a new join file, as soon as the controller has read its source.
fn invite(trial: &Trial, node: &str) {
    let socket = trial.run().join("control.sock");
    eventually(&format!("{node} may join anew"), SOON * 2, || {
        std::os::unix::net::UnixStream::connect(&socket).ok()?;
        let answer = request(trial, "POST", &format!("/join?node={node}"));
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
}
