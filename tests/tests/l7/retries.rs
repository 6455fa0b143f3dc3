//! Timeouts and retries of a rule.

use std::time::Duration;

use mesh_tests::{
    http::{
        caller::Ask,
        order::{Content, field},
        steer,
    },
    trial::web,
};

use super::{
    scene::{FAR, SHOP, cluster, refused, route, routed, seen, service, settles, ways},
    weight::Tally,
};

fn rule(path: &str, more: &str) -> String {
    format!(
        "  - matches: [{{path: {{value: {path}}}}}]\n    {more}\n    backendRefs: [{{name: one, port: 80}}]\n"
    )
}

/// HTTPRouteTimeouts: a slow answer is 504 in time, a fast one whole; zero is no limit.
#[test]
fn slow_answers_are_504_in_time() {
    let rules = [
        rule("/request", "timeouts: {request: 500ms}"),
        rule("/backend", "timeouts: {request: 10s, backendRequest: 500ms}"),
        rule("/none", "timeouts: {request: 0s}"),
    ];
    cluster().put_all("timed", &[&service(SHOP, "timed", "one"), &route("timed", &rules.concat())]);
    let ways = ways("timed");
    routed(&ways, "/request");
    for way in &ways {
        for path in ["/request", "/backend"] {
            let slow = way.ask(&way.get(path).header(steer::DELAY, 3_000));
            refused(way, &slow, 504, "RequestTimedOut");
            assert!((450..1_500).contains(&slow.milliseconds), "{way} {path}: {slow:?}");
            seen(way, &way.ask(&way.get(path).header(steer::DELAY, 100)));
        }
        seen(way, &way.ask(&way.get("/none").header(steer::DELAY, 1_200)));
        // The head is out: the answer ends where the time does.
        let cut = way.caller.ask(&way.get("/request").header(steer::PIECES, 4).header(steer::PAUSE, 1_000));
        let failed = cut.expect_err("an answer that was not whole in time");
        assert_eq!((failed.step.as_str(), failed.status), ("read", Some(200)), "{way}: {failed:?}");
        assert!(failed.milliseconds < 2_000, "{way}: {failed:?}");
    }
}

/// HTTPRouteRetry: the codes that are named are tried again as often as is said, and no others; the body goes again.
#[test]
fn failures_are_tried_again_as_often_as_is_said() {
    let rules = [
        rule("/twice", "retry: {attempts: 2, codes: [503], backoff: 10ms}"),
        rule("/never", "timeouts: {request: 10s}"),
    ];
    cluster().put_all("retried", &[&service(SHOP, "retried", "one"), &route("retried", &rules.concat())]);
    let ways = ways("retried");
    routed(&ways, "/twice");
    for (index, way) in ways.iter().enumerate() {
        let ask = |path: &str, failures: u64, status: u16| -> Ask {
            let key = format!("{path}-{failures}-{status}-{index}");
            let ask = way.get(path).method("PUT").content(Content::Text("hello".to_owned()));
            ask.header(steer::KEY, key).header(steer::FAIL, failures).header(steer::STATUS, status)
        };
        for (path, failures, status, answered, attempts) in [
            ("/twice", 2, 503, 200, "2"),
            ("/twice", 3, 503, 503, "2"),
            ("/twice", 1, 502, 502, "0"),
            ("/never", 1, 503, 503, "0"),
        ] {
            let answer = way.ask(&ask(path, failures, status));
            let what = format!("{way} {path} {failures} x {status}: {answer:?}");
            assert_eq!(answer.status(), answered, "{what}");
            assert_eq!(field(&answer.head.headers, steer::COUNT), attempts, "{what}");
            assert_eq!(seen(way, &answer).text, "hello", "{what}");
        }
    }
}

/// Issue, 1: a retry hides a backend that fails every request; and a pod whose server is gone, which refuses them.
#[test]
fn a_retry_hides_a_failing_backend() {
    let cluster = cluster();
    let pod = |name: &str| web("shaky", name).on(FAR).label("app", "shaky");
    let broken = pod("broken").serve("--status 503");
    let deaf = web("shaky", "deaf").on(FAR).label("app", "shaky").serve_only("--port 9999");
    let rules =
        |more: &str| format!("  - {{{more} backendRefs: [{{name: shaky, namespace: shaky, port: 80}}]}}\n");
    let service_of_pods = service("shaky", "shaky", "shaky");
    cluster.put_all(
        "shaky",
        &[
            &pod("good"),
            &broken,
            &deaf,
            &service_of_pods,
            &service(SHOP, "shaky", "one"),
            &route("shaky", &rules("retry: {attempts: 8, codes: [503], backoff: 1ms},")),
            &service(SHOP, "unhidden", "one"),
            &route("unhidden", &rules("")),
        ],
    );
    let hidden = ways("shaky");
    routed(&hidden, "/");
    settles("all three are asked where nothing hides them", &ways("unhidden"), |way| {
        let statuses: Vec<u16> =
            (0..40).filter_map(|_| Some(way.try_ask(&way.get("/")).ok()?.status())).collect();
        if statuses.contains(&503) && statuses.contains(&200) { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
    let tally = Tally::of(&hidden, 40);
    assert_eq!(tally.failures, [""; 0]);
    assert_eq!(tally.share("good"), 1.0, "{tally:?}");
    let slowest = Duration::from_secs(5);
    for way in &hidden {
        let answer = way.answer("/");
        assert!(u128::from(answer.milliseconds) < slowest.as_millis(), "{way}: {answer:?}");
    }
}
