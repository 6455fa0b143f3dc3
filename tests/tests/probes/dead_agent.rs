//! SEMANTICS 3: probes need no agent.

use mesh_tests::{
    exposition::Scrape,
    socket::plaza::SOON,
    testbed::Part,
    trial::{Expect::Answer, Outcome, echo, eventually},
};

use super::{cluster, passed};

/// SEMANTICS 3: with wire and relay dead probes go on as before, declared ports only, and nobody else gets in.
#[test]
fn probes_pass_with_the_agent_dead() {
    let cluster = cluster();
    let probe =
        "readinessProbe: {httpGet: {path: /healthz, port: 8090}, periodSeconds: 1, failureThreshold: 1}";
    cluster.put_all(
        "dead",
        &[
            &echo("dead", "server").serve("--http 8090").container(probe).on("node-2"),
            &echo("dead", "client").on("node-2"),
        ],
    );
    let before = passed("node-2");
    for part in [Part::Wire, Part::Relay] {
        cluster.bed().hold_agent("node-2", part).unwrap();
    }
    eventually("the agent is dead", SOON, || {
        let alive = |part| cluster.bed().agent("node-2", part).is_ok();
        (!alive(Part::Wire) && !alive(Part::Relay)).then_some(())
    });
    for (path, ready) in [("/fail", false), ("/recover", true)] {
        let _ = cluster.call("dead/server", "http", "127.0.0.1:8090", &["--send", path]);
        cluster.wait_ready("dead/server", ready);
    }
    for address in cluster.pod("dead/server").addresses {
        let to = |port| std::net::SocketAddr::new(address, port);
        assert!(matches!(cluster.tcp("node:node-2", to(8090)), Outcome::Answered(_)));
        for (from, port) in [("node:node-2", 8080), ("dead/client", 8080), ("dead/client", 8090)] {
            let outcome = cluster.tcp(from, to(port));
            assert_eq!(outcome.failure().errno, "ECONNREFUSED", "{from} -> {port}: {outcome:?}");
        }
    }
    for part in [Part::Wire, Part::Relay] {
        cluster.bed().release_agent("node-2", part).unwrap();
    }
    cluster.bed().wait_wired("dead", "server", SOON * 2).unwrap();
    eventually("the new agent tells what the kernel counted meanwhile", SOON, || {
        let scrape = Scrape::parse(&cluster.bed().metrics("node-2").ok()?).ok()?;
        (scrape.sum("mesh_kernel_probes_passed_total", &[]) > before + 2.0).then_some(())
    });
    cluster.expect(&[("node:node-2", "dead/server:8090", Answer)]);
}
