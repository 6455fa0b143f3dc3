//! L7 only where something needs it: everything else goes past the engine, before and after.

use std::{sync::OnceLock, time::Duration};

use mesh_tests::{
    http::{caller::Caller, order::VERSIONS},
    trial::{Trial, eventually, web},
};

use super::scene::{
    CLUSTER, FAR, NEAR, SHOP, SOON, Way, cluster, route, route_of, routed, seen_directly, service,
    service_of, settles, ways,
};

/// A testbed of its own, in whose engines is nobody else: clients `near` and `far`, the server `one`.
fn quiet() -> &'static (Trial, [Caller; 2]) {
    static OWN: OnceLock<(Trial, [Caller; 2])> = OnceLock::new();
    OWN.get_or_init(|| {
        let trial = Trial::start("l7-quiet", CLUSTER);
        let ports = "{name: http, port: 80, targetPort: 8080}, {name: plain, port: 81, targetPort: 8080}";
        trial.put_all(
            "pods",
            &[
                &web(SHOP, "near").on(NEAR),
                &web(SHOP, "far").on(FAR),
                &web(SHOP, "one").on(FAR),
                &service_of(SHOP, "beside", "one", ports),
            ],
        );
        let callers = ["shop/near", "shop/far"].map(|pod| trial.http(pod));
        (trial, callers)
    })
}

fn quiet_ways(port: u16) -> Vec<Way> {
    let (trial, [near, far]) = quiet();
    let mut ways = Vec::new();
    for to in trial.service("shop/beside", port) {
        for (from, caller) in [("near", near), ("far", far)] {
            ways.extend(VERSIONS.map(|version| Way { caller, from, to, version }));
        }
    }
    ways
}

/// Octets that the engines of both nodes have carried.
fn engine_bytes() -> f64 {
    [NEAR, FAR].iter().map(|node| quiet().0.metric(node, "mesh_engine_bytes_total", &[])).sum()
}

/// Issue, 3: not an octet of a port without routes and rules about requests goes through the engine, before there is any
/// route and with one for the port beside it of the same Service.
#[test]
fn ports_without_need_are_not_through_the_engine() {
    let plain = quiet_ways(81);
    settles("the port answers", &plain, |way| way.try_ask(&way.get("/")).map(drop));
    let many = || {
        for way in &plain {
            let one = way.get("/").over(&format!("plain {way}"));
            for _ in 0..100 {
                seen_directly(way, &way.answer("/"));
                seen_directly(way, &way.ask(&one));
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    many();
    assert_eq!(engine_bytes(), 0.0, "nothing needs the engine");
    let rules = "  - backendRefs: [{name: beside, port: 81}]\n";
    let parent = "name: beside, port: 80";
    quiet().0.put("beside", route_of("HTTPRoute", SHOP, "beside", parent, rules));
    routed(&quiet_ways(80), "/");
    std::thread::sleep(Duration::from_millis(500));
    let before = engine_bytes();
    assert!(before > 0.0, "what was routed is counted");
    many();
    assert_eq!(engine_bytes(), before, "1,600 requests went past the engine");
}

/// Issue, 1: with the last route deleted the next connection is the kernel's own within a second; with another it is
/// routed again. Requests go on through both.
#[test]
fn with_the_last_route_gone_the_next_connection_is_direct_within_a_second() {
    let cluster = cluster();
    let rules = "  - backendRefs: [{name: two, port: 80}]\n";
    cluster.put("leaving", service(SHOP, "leaving", "one"));
    let ways = ways("leaving");
    settles("it answers", &ways, |way| way.try_ask(&way.get("/")).map(drop));
    for round in 0..3 {
        cluster.put("leaving-route", route("leaving", rules));
        routed(&ways, "/");
        cluster.remove("leaving-route");
        let start = std::time::Instant::now();
        for way in &ways {
            let taken = eventually(&format!("{way}: the connection is direct"), SOON, || {
                let seen = way.answer("/").seen()?;
                let direct =
                    seen.pod == "one" && !seen.headers.iter().any(|(name, _)| name == "x-request-id");
                direct.then(|| start.elapsed())
            });
            assert!(taken < Duration::from_millis(1_000), "{way}: direct after {taken:?}, round {round}");
        }
        // Within a node the server sees the client's own socket: the kernel joined the two.
        for way in ways.iter().filter(|way| way.from == "far") {
            let answer = way.answer("/");
            assert_eq!(seen_directly(way, &answer).peer, answer.head.local, "{way}");
        }
    }
}
