//! What the controller tells of an object is at the API server soon, once, and for `kubectl describe` to find.

use std::time::{Duration, Instant};

use mesh_tests::cluster::trial::{self, free_port};

use crate::server::ApiServer;

const NAMESPACE: &str = "mesh-told";
/// How long it takes to tell. Of several the quickest one counts: a delay that is always there shows in all of them, a
/// machine that is busy with something else for a while does not.
const SOON: Duration = Duration::from_secs(5);

/// Waits until kubectl prints this, and says how long that took.
fn until(server: &ApiServer, arguments: &[&str], holds: impl Fn(&str) -> bool) -> Duration {
    let began = Instant::now();
    trial::until(&format!("{arguments:?}"), || {
        let said = server.kubectl.run(arguments).unwrap_or_else(|error| error.to_string());
        if holds(&said) { Ok(()) } else { Err(format!("{said}\n{}", server.log("mesh-control"))) }
    });
    began.elapsed()
}

/// Prints how long each of several took; the quickest was soon.
fn was_soon(what: &str, took: &[Duration]) {
    println!("{what}: after {took:.1?}");
    let quickest = took.iter().min().expect("several");
    assert!(*quickest < SOON, "{what}: never before {quickest:?}");
}

fn apply(server: &ApiServer, object: &str) {
    server.kubectl.apply(object).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn what_is_wrong_is_told_soon_and_where_kubectl_looks() {
    let mut server = ApiServer::start();
    server.define(&[NAMESPACE]);
    let account = format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: default, namespace: {NAMESPACE}}}}}"
    );
    apply(&server, &account);
    let administrator = server.path("kubeconfig");
    let arguments = [format!("--namespace={NAMESPACE}"), format!("--listen=127.0.0.1:{}", free_port())];
    server.control("mesh-control", &administrator, &arguments);

    let policy = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {{name: {name}, namespace: {NAMESPACE}}}, spec: {spec}}}"
        )
    };
    apply(&server, &policy("first", "{selector: {}, ingress: []}"));
    let of = |kind: &str, name: &str, condition: &str| {
        let path = format!("--output=jsonpath={{.status.conditions[?(@.type==\"{condition}\")].reason}}");
        [format!("--namespace={NAMESPACE}"), "get".to_owned(), format!("{kind}/{name}"), path]
    };
    let reason = |kind: &str, name: &str, condition: &str, wanted: &str| {
        let arguments = of(kind, name, condition);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        until(&server, &arguments, |said| said.trim() == wanted)
    };
    // Who begins to lead writes ten seconds later.
    reason("accesspolicy", "first", "Programmed", "Programmed");

    // One after another, so that a delay that depends on what came before shows in all but the first.
    let (mut written, mut told) = (Vec::new(), Vec::new());
    for number in 0..4 {
        let name = format!("host-{number}");
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{mesh.internal/mode: enabled}}}}, \
             spec: {{hostNetwork: true, nodeName: node-1, containers: [{{name: main, image: none}}]}}}}"
        );
        apply(&server, &pod);
        written.push(reason("pod", &name, "mesh.internal/Enrolled", "HostNetwork"));
        let describe = ["--namespace", NAMESPACE, "describe", "pod", &name];
        told.push(until(&server, &describe, |said| {
            let events = said.split("Events:").nth(1).unwrap_or_default();
            events.contains("NotEnrolled") && events.contains("spec.hostNetwork is true")
        }));
    }
    was_soon("pods' conditions", &written[1..]);
    was_soon("pods' events, their conditions being there", &told[1..]);

    let (mut written, mut told) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let name = format!("wrong-{number}");
        apply(&server, &policy(&name, "{selector: {}, ingress: [{from: [{serviceAccounts: [nobody]}]}]}"));
        written.push(reason("accesspolicy", &name, "ResolvedRefs", "ReferenceNotFound"));
        let describe = ["--namespace", NAMESPACE, "describe", "accesspolicy", &name];
        told.push(until(&server, &describe, |said| {
            said.split("Events:").nth(1).unwrap_or_default().contains("ReferenceNotFound")
        }));
    }
    was_soon("policies' conditions", &written);
    was_soon("policies' events, their conditions being there", &told);

    // A pod that asks for the mesh no more has nothing of it in its status.
    let gone = ["host-0", "host-1", "host-2"].map(|name| {
        let label = ["--namespace", NAMESPACE, "label", "pod", name, "mesh.internal/mode-"];
        server.kubectl.run(&label).unwrap_or_else(|error| panic!("{error}"));
        reason("pod", name, "mesh.internal/Enrolled", "")
    });
    was_soon("labels that are taken off: conditions gone", &gone);
}
