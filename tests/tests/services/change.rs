//! SEMANTICS 6.2: endpoints come and go under traffic.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use mesh_tests::{
    socket::plaza::SOON,
    trial::{Expect::Answer, echo, eventually},
};

use super::{cluster, service, shares};

const LIVELY: Duration = Duration::from_millis(20);

/// The second within which an endpoint that goes gets no new connection, with what a busy machine adds.
const A_SECOND: Duration = Duration::from_secs(4);

/// How often the endpoints of a Service change under traffic.
const CHANGES: u32 = 12;

/// SEMANTICS 6.2: endpoints enter and leave a Service under load, and no connection fails.
#[test]
fn no_connection_fails_while_endpoints_change() {
    let cluster = cluster();
    let pod =
        |name: &str, serving: bool| echo("live", name).label("serving", if serving { "yes" } else { "no" });
    let web = service("live", "web", "selector: {serving: 'yes'}, ports: [{port: 80, targetPort: 8080}]");
    let put = |a: bool, b: bool| {
        let client = echo("live", "client");
        cluster.put_all("live", &[&pod("always", true), &pod("a", a), &pod("b", b), &client, &web]);
    };
    put(true, false);
    cluster.expect(&[("live/client", "svc/live/web:80", Answer)]);
    let target = cluster.service("live/web", 80)[0].to_string();
    let argv = ["mesh-echo", "storm", target.as_str(), "--connections", "3000", "--concurrency", "4"];
    let mut changes = 0;
    // However fast the machine is: as many storms as some changes take.
    while changes < CHANGES {
        let mut storm = cluster.command("live/client", &argv).stdout(Stdio::piped()).spawn().unwrap();
        while storm.try_wait().unwrap().is_none() {
            put(changes % 2 == 0, changes % 3 == 0);
            changes += 1;
            std::thread::sleep(Duration::from_millis(60));
        }
        let output = storm.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("ok=3000 failed=0"), "after {changes} changes: {said}");
    }
    put(true, true);
    eventually("all three are picked", SOON, || {
        let hosts = cluster.hosts("live/client", &target, 60);
        (shares(&hosts).len() == 3).then_some(())
    });
}

/// SEMANTICS 6.2: an endpoint that shuts down gracefully keeps its connections, and gets no new one.
#[test]
fn a_graceful_shutdown_cuts_nothing() {
    let cluster = cluster();
    let pod = |name: &str| {
        echo("drain", name)
            .label("tier", "web")
            .serve("--drain 60000")
            .spec("terminationGracePeriodSeconds: 90")
    };
    let web = service("drain", "web", "selector: {tier: web}, ports: [{port: 80, targetPort: 8080}]");
    let client = echo("drain", "client");
    cluster.put_all("drain", &[&pod("stays"), &pod("leaves"), &client, &web]);
    cluster.expect(&[("drain/client", "svc/drain/web:80", Answer)]);
    let leaving = cluster.pod("drain/leaves").addresses;
    let held: Vec<_> =
        leaving.iter().map(|ip| cluster.hold("drain/client", SocketAddr::new(*ip, 8080), LIVELY)).collect();
    cluster.put_all("drain", &[&pod("stays"), &client, &web]);
    eventually("the pod is terminating", SOON, || {
        cluster.try_pod("drain/leaves").filter(|pod| pod.terminating)
    });
    let vip = cluster.service("drain/web", 80);
    eventually("new connections go elsewhere", A_SECOND, || {
        let outcomes = cluster.calls("drain/client", "tcp", vip[0], &["--count", "20"]);
        let elsewhere = |outcome: &mesh_tests::trial::Outcome| matches!(outcome, mesh_tests::trial::Outcome::Answered(answer) if answer.host() == "stays");
        outcomes.iter().all(elsewhere).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1000));
    held.iter().for_each(mesh_tests::trial::Held::is_open);
    // The server's own end is theirs.
    let leaving = cluster.bed().pod("drain", "leaves").unwrap();
    std::fs::write(leaving.cgroup.join("echo/cgroup.kill"), "1").unwrap();
    for connection in &held {
        assert!(connection.end(SOON).is_some(), "the server is gone and the connection is not");
    }
}

/// SEMANTICS 6.2: a deleted pod's connections are aborted, also where its end could not be told to the client.
#[test]
fn connections_to_a_deleted_pod_are_aborted() {
    let cluster = cluster();
    let client = echo("deleted", "client");
    cluster.put_all("deleted", &[&echo("deleted", "server"), &client]);
    let server = cluster.pod("deleted/server");
    let held: Vec<_> = server
        .addresses
        .iter()
        .map(|ip| cluster.hold("deleted/client", SocketAddr::new(*ip, 8080), Duration::ZERO))
        .collect();
    // No FIN of the dying server can reach the client.
    let digits: String = server.uid.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
    let _ = cluster.run_in("node:node-1", &["ip", "link", "set", &format!("veth{digits}"), "down"]);
    cluster.put_all("deleted", &[&client]);
    for connection in &held {
        let end = connection.end(SOON).expect("the pod is gone and its connection is still open");
        assert!(end.contains("ECONNABORTED"), "{end}");
    }
    eventually("the log says why", SOON, || {
        let log = cluster.access_log();
        let says = |line: &str| line.contains("EndpointGone") && line.contains("\"deleted\"");
        log.iter().any(|(_, line)| says(line)).then_some(())
    });
}
