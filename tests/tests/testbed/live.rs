//! A directory that changes while the testbed is up.

use std::time::Duration;

use mesh_tests::testbed::Testbed;

use super::SOON;

fn pod(name: &str, command: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: n, labels: {{{labels}}}}}\n\
         spec: {{terminationGracePeriodSeconds: 1, nodeName: one, containers: [{{name: c, command: [{command}]}}]}}\n"
    )
}

#[test]
fn pods_come_change_and_go() {
    let testbed =
        Testbed::builder().manifest(pod("a", "sleep, infinity", "v: one")).mesh(false).start().unwrap();
    let first = testbed.wait_ready("n", "a", SOON).unwrap();

    // Labels change in place; what runs does not.
    testbed.apply(&pod("a", "sleep, infinity", "v: two")).unwrap();
    testbed.apply(&pod("b", "sleep, infinity", "")).unwrap();
    testbed.wait_ready("n", "b", SOON).unwrap();
    assert_eq!(testbed.pod("n", "a").unwrap().uid, first.uid);

    testbed.apply(&pod("a", "sleep, '99999'", "v: two")).unwrap();
    let replaced = || match testbed.pod("n", "a") {
        Ok(pod) if pod.uid != first.uid && pod.ready => Ok(pod),
        other => Err(format!("{other:?}")),
    };
    let second = testbed.wait_for("the pod to be replaced", SOON, replaced).unwrap();
    assert_ne!(second.ip4, first.ip4, "an address is not used again at once");
    assert!(!first.cgroup.exists());

    testbed.delete("Pod", "n", "a").unwrap();
    testbed.wait_gone("n", "a", SOON).unwrap();
    assert!(!second.cgroup.exists());

    // A slip takes nothing down, and a new node can join.
    testbed.write_file("Pod.n.b.yaml", "kind: [").unwrap();
    testbed.apply(&pod("c", "sleep, infinity", "").replace("nodeName: one", "nodeName: two")).unwrap();
    testbed.wait_ready("n", "c", SOON).unwrap();
    assert!(testbed.pod("n", "b").unwrap().ready);
}

#[test]
fn termination_is_graceful_within_its_period() {
    let polite = "apiVersion: v1\nkind: Pod\nmetadata: {name: polite, namespace: n}\nspec:\n  terminationGracePeriodSeconds: 20\n  containers:\n  \
                  - name: c\n    command: [sh, -c, 'trap \"echo term; exit 0\" TERM; echo serving; while :; do sleep 0.05; done']\n    \
                  lifecycle: {preStop: {exec: {command: [sh, -c, 'echo stopping > /tmp/mesh-testbed-hook-$HOSTNAME; sleep 0.2']}}}\n";
    let testbed = Testbed::builder()
        .manifest(polite)
        .manifest(pod("stubborn", "sh, -c, \"trap : TERM; echo serving; while :; do sleep 0.05; done\"", ""))
        .mesh(false)
        .start()
        .unwrap();
    testbed.wait_all_ready(SOON).unwrap();
    // What comes before their trap is there ends them.
    for pod in ["polite", "stubborn"] {
        testbed.wait_serving("n", pod, SOON).unwrap();
    }
    let log = testbed.layout().log("n.polite.c");
    let start = std::time::Instant::now();
    testbed.delete("Pod", "n", "polite").unwrap();
    testbed.delete("Pod", "n", "stubborn").unwrap();
    testbed.wait_gone("n", "polite", SOON).unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap(), "serving\nterm\n");
    assert!(start.elapsed() < Duration::from_secs(18));
    let hook = std::path::Path::new("/tmp/mesh-testbed-hook-polite");
    assert!(hook.exists(), "the preStop hook ran");
    std::fs::remove_file(hook).unwrap();
    testbed.wait_gone("n", "stubborn", SOON).unwrap();
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
}
