//! Servers at an enrolled pod's address that are not that pod, and what a client's application and the logs see of it.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::{
    hbone::{Authority, Leaf, Validity},
    trial::{Trial, eventually, played, played_as},
};
use serde_json::Value;

use super::{
    Cluster, NEAR, SOON, cluster, is_reset,
    told::{Before, Case},
};

/// Waits until the client's node sends what goes there through the tunnel: before discovery has the pod, it is a
/// stranger, and the dial is plaintext.
pub(super) fn is_tunnelled(trial: &Trial, to: SocketAddr) {
    // The client's node is asked itself: not every node of this cluster has an agent.
    let (address, port) = (to.ip(), to.port());
    let path = format!("/can?source=id/client&destination={address}&port={port}&protocol=tcp");
    eventually(&format!("{to} is dialled through the tunnel"), SOON, || {
        let said: Value = serde_json::from_str(&trial.bed().admin(NEAR, &path).ok()?).ok()?;
        (said["endpoints"][0]["transport"] == "tunnel").then_some(())
    });
}

/// A played pod, and what a connection to it comes to: an answer if there is no reason.
struct Server {
    name: &'static str,
    shell: String,
    reason: &'static str,
}

/// Puts them up and calls each, over both address families; what fails must be told.
fn check(cluster: &Cluster, file: &str, servers: &[Server], account: Option<&str>) {
    let yaml =
        servers.iter().map(|server| played_as(server.name, account.unwrap_or(server.name), &server.shell));
    cluster.put(file, yaml.collect::<Vec<_>>().join("---\n"));
    thread::scope(|scope| {
        for server in servers {
            let trial = cluster.trial;
            for address in trial.pod(&format!("played/{}", server.name)).addresses {
                scope.spawn(move || reach(trial, server, SocketAddr::new(address, 8080)));
            }
        }
    });
    cluster.remove(file);
}

fn reach(trial: &Trial, server: &Server, to: SocketAddr) {
    is_tunnelled(trial, to);
    let told = (!server.reason.is_empty())
        .then(|| Before::of_workload(trial, Case::source(server.reason), server.name));
    let outcome = trial.call("id/client", "tcp", to, &["--timeout", super::PATIENT, "--send", "hello"]);
    match told {
        Some(before) => {
            is_reset(server.name, &outcome);
            before.is_told(to.ip());
        }
        None => assert_eq!(outcome.answer().text, "hello", "{}: {to}", server.name),
    }
}

/// The name that discovery has for a played pod.
fn right(name: &str) -> String {
    format!("spiffe://cluster.local/ns/played/sa/{name}")
}

/// Issue: whoever answers must prove the name that discovery has for that address; each other case has its own reason.
#[test]
fn a_server_that_does_not_prove_its_name_is_not_talked_to() {
    let cluster = cluster();
    let (papers, authority) = (cluster.papers(), cluster.authority());
    let serve = |file: &str| format!("exec mesh-hbone server {}", cluster.words(file));
    let shows = |name: &'static str, id: &str, validity, reason| {
        authority.issue(&papers, name, &Leaf { names: &[id], validity, ..Leaf::default() }).unwrap();
        Server { name, shell: serve(name), reason }
    };
    let at = |name, validity, reason| shows(name, &right(name), validity, reason);
    let does = |name, shell: &str, reason| Server { name, shell: shell.to_owned(), reason };
    let ahead = |seconds| Validity::Ahead(Duration::from_secs(seconds));
    let abroad = "spiffe://elsewhere.example/ns/played/sa/abroad";
    for (name, signer) in [("alone", None), ("strange", Some(Authority::stranger().unwrap()))] {
        let (id, leaf) = (right(name), Leaf::default());
        let leaf = Leaf { names: &[&id], ..leaf };
        match signer {
            None => authority.self_signed(&papers, name, &leaf).unwrap(),
            Some(stranger) => stranger.issue(&papers, name, &leaf).unwrap(),
        }
    }
    let http1 = at("http1", Validity::Now, "PeerNotHbone");
    // A clock that is ahead is forgiven a minute: these two are asked before they are much older.
    let issued = Instant::now();
    let clocks = [at("ahead", ahead(45), ""), at("far-ahead", ahead(120), "CertificateNotYetValid")];
    check(&cluster, "clocks", &clocks, None);
    assert!(issued.elapsed() < Duration::from_secs(40), "too slow to tell a certificate that is ahead");
    let servers = [
        at("good", Validity::Now, ""),
        shows("other", &right("good"), Validity::Now, "NameMismatch"),
        shows("abroad", abroad, Validity::Now, "TrustDomainMismatch"),
        at("old", Validity::Expired, "CertificateExpired"),
        at("young", Validity::NotYet, "CertificateNotYetValid"),
        does("nobody", "sleep infinity", "TunnelRefused"),
        does("mute", &format!("{}; sleep infinity", super::fallback::DROP), "TunnelTimedOut"),
        does("plain", "exec mesh-hbone server --plain HTTP/1.1", "PeerNotHbone"),
        Server { shell: http1.shell + " --alpn http/1.1", ..http1 },
        does("alone", &serve("alone"), "CertificateUntrusted"),
        does("strange", &serve("strange"), "CertificateUntrusted"),
    ];
    check(&cluster, "played", &servers, None);
}

/// Issue: a status of the other side is the application's reset, and has its own reason.
#[test]
fn every_status_has_its_reason() {
    let cluster = cluster();
    let id = right("status");
    let words = cluster.issue("status", &Leaf { names: &[&id], ..Leaf::default() });
    let serve = |name, more: &str, reason| Server {
        name,
        shell: format!("exec mesh-hbone server {words} {more}"),
        reason,
    };
    let fails = |name, how: &str, reason| {
        serve(name, &format!("--status 503 --header 'proxy-status=mesh; error={how}'"), reason)
    };
    let servers = [
        serve("s400", "--status 400", "BadRequest"),
        serve("s401", "--status 401", "PeerDenied"),
        fails("s503", "connection_refused", "UpstreamRefused"),
        fails("timeout", "connection_timeout", "UpstreamTimedOut"),
        serve("reset", "--reset 8", "PeerFailed"),
    ];
    check(&cluster, "statuses", &servers, Some("status"));
}

/// No route to the destination's pod: the client's node says so.
#[test]
fn a_pod_that_no_route_leads_to_is_unreachable() {
    let cluster = cluster();
    cluster.put("lost", played("lost", "sleep infinity"));
    let server = Server { name: "lost", shell: String::new(), reason: "TunnelUnreachable" };
    let route = |what: &str, address: &str| {
        let output = cluster.bed().exec_node(NEAR, &["ip", "route", what, "unreachable", address]).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    for address in cluster.pod("played/lost").addresses {
        let text = address.to_string();
        route("add", &text);
        reach(&cluster, &server, SocketAddr::new(address, 8080));
        route("del", &text);
    }
    cluster.remove("lost");
}
