//! What the controller tells of an object is at the API server soon, once, and for `kubectl describe` to find.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::objects::server::{ApiServer, free_port};

const NAMESPACE: &str = "mesh-told";
/// Who begins to lead writes ten seconds later.
const BEGINS: Duration = Duration::from_secs(40);
/// How long it takes to tell, at most, on a machine that does other things as well.
const SOON: Duration = Duration::from_secs(5);

/// Waits until kubectl prints this, and says how long that took.
fn until(
    server: &ApiServer,
    patience: Duration,
    arguments: &[&str],
    holds: impl Fn(&str) -> bool,
) -> Duration {
    let began = Instant::now();
    loop {
        let said = server.kubectl.run(arguments).unwrap_or_else(|error| error.to_string());
        if holds(&said) {
            return began.elapsed();
        }
        assert!(began.elapsed() < patience, "{arguments:?}: {said}\n{}", server.log("mesh-control"));
        thread::sleep(Duration::from_millis(50));
    }
}

fn apply(server: &ApiServer, object: &str) {
    server.kubectl.apply(object).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn what_is_wrong_is_told_soon_and_where_kubectl_looks() {
    let mut server = ApiServer::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    for definition in fs::read_dir(folder).expect("cargo xtask crds writes it").flatten() {
        apply(&server, &fs::read_to_string(definition.path()).expect("a definition"));
    }
    let established =
        ["wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=30s"];
    server.kubectl.run(&established).unwrap_or_else(|error| panic!("{error}"));
    server.kubectl.run(&["create", "namespace", NAMESPACE]).unwrap_or_else(|error| panic!("{error}"));
    let account = format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: default, namespace: {NAMESPACE}}}}}"
    );
    apply(&server, &account);
    let run_dir = server.path("run");
    fs::create_dir_all(&run_dir).expect("a run directory");
    let ours = std::env::current_exe().expect("this program");
    let mut folders = ours.ancestors().skip(1).take(2).map(|folder| folder.join("mesh-control"));
    let program = folders.find(|file| file.is_file()).expect("mesh-control is not built");
    let arguments = [
        "--source=kubernetes".to_owned(),
        format!("--run-dir={}", run_dir.display()),
        format!("--namespace={NAMESPACE}"),
        format!("--listen=127.0.0.1:{}", free_port()),
    ];
    server.spawn(&program, &arguments);

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
    let reason = |server: &ApiServer, patience, kind: &str, name: &str, condition: &str, wanted: &str| {
        let arguments = of(kind, name, condition);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        until(server, patience, &arguments, |said| said.trim() == wanted)
    };
    reason(&server, BEGINS, "accesspolicy", "first", "Programmed", "Programmed");

    // Every one of several, so that a delay that depends on what came before shows.
    for number in 0..3 {
        let name = format!("host-{number}");
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{mesh.internal/mode: enabled}}}}, \
             spec: {{hostNetwork: true, nodeName: node-1, containers: [{{name: main, image: none}}]}}}}"
        );
        apply(&server, &pod);
        let written = reason(&server, SOON, "pod", &name, "mesh.internal/Enrolled", "HostNetwork");
        let describe = ["--namespace", NAMESPACE, "describe", "pod", &name];
        let told = until(&server, SOON, &describe, |said| {
            let events = said.split("Events:").nth(1).unwrap_or_default();
            events.contains("NotEnrolled") && events.contains("spec.hostNetwork is true")
        });
        println!("{name}: its condition after {written:?}, its event {told:?} later");
    }

    apply(&server, &policy("wrong", "{selector: {}, ingress: [{from: [{serviceAccounts: [nobody]}]}]}"));
    let written = reason(&server, SOON, "accesspolicy", "wrong", "ResolvedRefs", "ReferenceNotFound");
    let describe = ["--namespace", NAMESPACE, "describe", "accesspolicy", "wrong"];
    let told = until(&server, SOON, &describe, |said| {
        said.split("Events:").nth(1).unwrap_or_default().contains("ReferenceNotFound")
    });
    println!("a policy: its condition after {written:?}, its event {told:?} later");

    // A pod that asks for the mesh no more has nothing of it in its status.
    server
        .kubectl
        .run(&["--namespace", NAMESPACE, "label", "pod", "host-0", "mesh.internal/mode-"])
        .unwrap_or_else(|error| panic!("{error}"));
    let gone = reason(&server, SOON, "pod", "host-0", "mesh.internal/Enrolled", "");
    println!("a label that is taken off: its condition is gone after {gone:?}");
}
