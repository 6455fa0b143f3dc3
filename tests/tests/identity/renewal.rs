//! Certificates that cannot be renewed: they count until they end, and not longer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh_tests::{
    testbed::Part,
    trial::{Held, Trial, eventually},
};
use serde_json::Value;

use super::{
    FAR, NEAR, SOON,
    away::{Away, connected},
    is_reset,
    joining::request,
    relays::kill,
    short_lived,
    told::{Before, Case, Mark},
    traffic::Traffic,
    whole,
};

/// What both ends' certificates must have left when the controller goes, of 30 seconds.
const LEFT: Duration = Duration::from_secs(24);

/// What the fresher of the two has left when they have carried traffic for long enough: well past half of its life,
/// when it should have been renewed. The other one has no more than 6 seconds less.
const PAST_HALF: Duration = Duration::from_secs(12);

/// How long the certificates of the client and the server still count: the first that ends, and the last.
fn left(trial: &Trial) -> (Duration, Duration) {
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
    let mut left: Vec<Duration> = ends.into_iter().map(|end| until(end).unwrap_or_default()).collect();
    left.sort_unstable();
    (left[0], left[1])
}

/// Has both relays start anew: each asks for its pods' certificates when it does, so that they are of one age.
fn renew_together(cluster: &Trial) {
    for node in [NEAR, FAR] {
        kill(cluster, node);
    }
    for node in [NEAR, FAR] {
        cluster.bed().release_agent(node, Part::Relay).unwrap();
    }
    connected(cluster);
    whole(cluster);
}

/// SEMANTICS 9.3 and DESIGN: with nobody to renew them, certificates carry traffic to their end; then there are none,
/// what is open goes on, and with the controller back all is as before.
#[test]
fn traffic_goes_on_with_the_certificates_there_are_until_they_end() {
    let cluster = short_lived();
    renew_together(&cluster);
    let traffic = Traffic::start(&cluster, "id/client", "id/server:8080");
    let held: Vec<_> = cluster
        .resolve("id/server:8080")
        .into_iter()
        .map(|to| cluster.hold("id/client", to, Duration::from_millis(50)))
        .collect();
    let (_, last) = eventually("both ends' certificates are fresh", SOON * 4, || {
        Some(left(&cluster)).filter(|(first, _)| *first >= LEFT)
    });
    let (away, start) = (Away::now(cluster.bed()), Instant::now());
    std::thread::sleep(last.saturating_sub(PAST_HALF).saturating_sub(start.elapsed()));
    let so_far = traffic.so_far();
    // The first of them has 6 seconds left or more.
    let within = Duration::from_secs(5);
    eventually("new connections past half of the lives", within, || traffic.grew(&so_far).then_some(()));
    traffic.stop().assert_whole("certificates that could not be renewed");

    let targets = cluster.resolve("id/server:8080");
    let mark = Mark::now(&cluster);
    eventually("the client's certificate has ended", SOON * 2, || {
        let _ = cluster.tcp("id/client", targets[0]);
        let ended = |line: &super::told::Line| line.text("/reason") == "NoCertificate" && line.node() == NEAR;
        mark.lines(&cluster).iter().any(ended).then_some(())
    });
    for to in &targets {
        let told = Before::of_workload(&cluster, Case::source("NoCertificate"), "server");
        is_reset(
            "without a certificate",
            &cluster.call("id/client", "tcp", to, &["--timeout", super::PATIENT]),
        );
        told.is_told(to.ip());
    }
    held.iter().for_each(Held::is_open);

    drop(away);
    // The nodes' own certificates have ended as well, so that they must join anew.
    for node in [NEAR, FAR] {
        invite(&cluster, node);
    }
    let start = Instant::now();
    connected(&cluster);
    whole(&cluster);
    println!("whole again {:.1} s after the nodes may join", start.elapsed().as_secs_f64());
    held.iter().for_each(Held::is_open);
}

/// Asks for a new join file, as soon as the controller has read its source.
fn invite(trial: &Trial, node: &str) {
    let socket = trial.run().join("control.sock");
    eventually(&format!("{node} may join anew"), SOON, || {
        std::os::unix::net::UnixStream::connect(&socket).ok()?;
        let answer = request(trial, "POST", &format!("/join?node={node}"));
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
}
