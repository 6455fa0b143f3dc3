//! `meshctl` where there is no socket to open: everything through the API server.

use std::process::{Command, Output};

use mesh_tests::cluster::trial::{program, until};
use serde_json::{Value, from_str, json};

use crate::{
    scene::{Scene, mesh},
    traffic::{HELD, Traffic},
};

const PAIR: &str = include_str!("pair.yaml");
const NAMESPACE: &str = "asked";

/// A client and a server on two nodes, not yet in the mesh.
fn pair(namespace: &str) -> Scene {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Preferred}}");
    let plain = PAIR.replace("NAMESPACE", namespace).replace(", labels: { mesh.internal/mode: enabled }", "");
    let scene = mesh.scene(namespace, &plain);
    for pod in ["pod/client", "pod/server"] {
        scene.wait(pod, "condition=Ready");
    }
    scene
}

/// `meshctl` as somebody has it who has a kubeconfig and nothing else.
fn meshctl(scene: &Scene, arguments: &[&str]) -> (i32, String, String) {
    let mut command: Command = program("meshctl");
    command.env_remove("MESH_RUN_DIR").env_remove("KUBECONFIG");
    command.arg("--kubeconfig").arg(scene.mesh.cluster.kubeconfig()).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("meshctl runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn asked(scene: &Scene, arguments: &[&str]) -> (i32, Value) {
    let (code, told, why) = meshctl(scene, &[&["-o", "json"], arguments].concat());
    (code, from_str(&told).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}{why}")))
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn everything_is_asked_through_the_api_server() {
    let scene = pair(NAMESPACE);
    let (code, told, why) = meshctl(&scene, &["status", "--wait", "--timeout", "180s"]);
    assert_eq!(code, 0, "{told}{why}");

    for arguments in [&["check", "--pre"][..], &["check"]] {
        let (code, findings) = asked(&scene, arguments);
        let levels: Vec<&str> =
            findings.as_array().unwrap().iter().map(|one| one["level"].as_str().unwrap()).collect();
        // Other tests of this program are in the mesh beside this one: warnings are theirs.
        assert_eq!(
            (code, levels.contains(&"fail"), levels.contains(&"skipped")),
            (0, false, false),
            "{findings:#}"
        );
    }

    let (code, told) = asked(&scene, &["enroll", NAMESPACE, "--timeout", "180s"]);
    assert_eq!(
        (code, told["mode"].as_str(), told["changed"].as_bool()),
        (0, Some("enabled"), Some(true)),
        "{told:#}"
    );
    for pod in told["pods"].as_array().unwrap() {
        assert_eq!(pod["state"], "wired", "{told:#}");
    }

    // Each node learns of the pods of the other one a moment after they are wired.
    until("the call to be allowed through the tunnel", || {
        let (code, told, why) = meshctl(&scene, &["can", "client", "svc/server", "-n", NAMESPACE]);
        let is_so = code == 0 && told.contains(": allowed\n") && told.contains("  tunnel ");
        if is_so { Ok(()) } else { Err(told + &why) }
    });
    scene.answered("client", &["mesh-echo", "client", "tcp", "server:9000"]);
    until("the server to be explained", || {
        let (code, told) = asked(&scene, &["explain", "pod/server", "-n", NAMESPACE]);
        let is_so = told["node"] == "node-1" && told["pod"]["state"] == "wired";
        if is_so && told["certificate"]["state"] == "valid" {
            Ok(())
        } else {
            Err(format!("{code} {told:#}"))
        }
    });
    until("the Service to be explained", || {
        let (code, told) = asked(&scene, &["explain", &format!("svc/{NAMESPACE}/server")]);
        let is_so = told["ports"][0]["endpoints"][0]["pod"] == format!("{NAMESPACE}/server");
        if is_so { Ok(()) } else { Err(format!("{code} {told:#}")) }
    });

    closed_by_a_policy(&scene);
    asked_by_somebody_without_rights(&scene);
    reported(&scene);

    let (code, told) = asked(&scene, &["unenroll", NAMESPACE, "--timeout", "180s"]);
    assert_eq!((code, told["mode"].as_str()), (0, None), "{told:#}");
    assert_eq!(
        scene.mesh.ask(&[
            "get",
            "namespace",
            NAMESPACE,
            "--output=jsonpath={.metadata.labels.mesh\\.internal/mode}"
        ]),
        ""
    );
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn connections_from_before_stay_or_are_ended_as_enroll_is_told() {
    let scene = pair("reset");
    let mut traffic = Traffic::start(&scene, "client", "-4", "server:9000");
    let before = traffic.count();
    let enroll = ["enroll", "pod/server", "-n", "reset", "--timeout", "180s"];
    let (code, told) = asked(&scene, &enroll);
    assert_eq!((code, told["pods"][0]["state"].as_str()), (0, Some("wired")), "{told:#}");
    assert_eq!(traffic.count().broken, before.broken, "connections that are open stay as they are");

    let (code, told) = asked(&scene, &[&enroll[..], &["--reset"]].concat());
    let ended = told["pods"][0]["ended"].as_u64().unwrap_or_default();
    assert!(code == 0 && ended >= HELD, "{code} {told:#}");
    until("what was open to end and to be opened anew", || {
        let now = traffic.count();
        if now.broken == before.broken + HELD && now.open == HELD { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

/// A policy is seen by `can` and by `explain`, and NetworkPolicies that stand in the way by `check`.
fn closed_by_a_policy(scene: &Scene) {
    let policy = format!(
        "{{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {{name: server, namespace: {NAMESPACE}}}, \
         spec: {{selector: {{matchLabels: {{app: server}}}}, ingress: []}}}}"
    );
    let narrow = format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: narrow, namespace: {NAMESPACE}}}, \
         spec: {{podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{ports: [{{port: 9000}}]}}]}}}}"
    );
    scene.mesh.cluster.kubectl().apply(&policy).expect("it is a policy");
    scene.mesh.cluster.kubectl().apply(&narrow).expect("it is a policy");
    let (code, told, why) = until("the policy to be in force", || {
        let answer = meshctl(scene, &["can", "client", "svc/server", "-n", NAMESPACE]);
        if answer.0 == 1 { Ok(answer) } else { Err(answer.1) }
    });
    assert!(told.contains("  AccessPolicy (no rule allows)  NoRuleAllows\n"), "{code} {told}{why}");
    // `can` asks both nodes, each what it has.
    until("a call to be refused, and that to be explained", || {
        let refused = scene.run("client", &["mesh-echo", "client", "tcp", "server:9000"]);
        let refused = String::from_utf8_lossy(&refused.stdout).into_owned();
        let (code, told, _) = meshctl(scene, &["explain", "pod/client", "-n", NAMESPACE]);
        let is_refused = refused.contains("ECONNREFUSED") || refused.contains("ECONNRESET");
        let is_told = code == 1 && told.contains("PeerDenied");
        if is_refused && is_told { Ok(()) } else { Err(refused + &told) }
    });

    let (code, told, _) = meshctl(scene, &["check"]);
    let patch = told.lines().find_map(|line| line.trim().strip_prefix("-> kubectl "));
    assert!(code == 1 && told.contains("MESH-C015 FAIL"), "{told}");
    let patch = patch.unwrap_or_else(|| panic!("no patch: {told}"));
    // The patch that it prints is one that mends it.
    let (options, change) = patch.split_once(" -p '").expect("a patch");
    let words: Vec<&str> = options.split(' ').chain(["-p", change.trim_end_matches('\'')]).collect();
    scene.mesh.ask(&words);
    let (code, told, _) = meshctl(scene, &["check"]);
    assert!(code == 0 && told.contains("MESH-C015 ok"), "{told}");
}

/// Who may not `exec` is told which right it takes.
fn asked_by_somebody_without_rights(scene: &Scene) {
    scene.ask(&["create", "serviceaccount", "stranger"]);
    let role = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: stranger, namespace: {}}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}, \
         subjects: [{{kind: ServiceAccount, name: stranger, namespace: {NAMESPACE}}}]}}",
        crate::scene::MESH
    );
    scene.mesh.cluster.kubectl().apply(&role).expect("it is a binding");
    let token = scene.ask(&["create", "token", "stranger"]);
    let file = std::fs::read_to_string(scene.mesh.cluster.kubeconfig()).expect("a kubeconfig");
    let mut config: Value = from_str(&file).expect("it is JSON");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    std::fs::write(&path, config.to_string()).expect("it is written");
    let wanted =
        format!("asking takes the verbs get and create for pods/exec in namespace {}", crate::scene::MESH);
    // The API server heeds a new role a moment after it is there.
    until("the controller and two nodes to be named with the right that is missing", || {
        let mut asking = program("meshctl");
        asking.env_remove("MESH_RUN_DIR").env("KUBECONFIG", &path).arg("status");
        let output = asking.output().expect("meshctl runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        if told.matches(&wanted).count() == 3 { Ok(()) } else { Err(told) }
    });
    scene.mesh.ask(&["delete", "rolebinding", "stranger", "--namespace", crate::scene::MESH]);
}

/// One archive, without a secret, never over another one.
fn reported(scene: &Scene) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.tar");
    let path = path.to_str().expect("a path");
    let (code, told, why) = meshctl(scene, &["bug-report", path]);
    assert_eq!(code, 0, "{told}{why}");
    let listed = Command::new("tar").args(["-tf", path]).output().expect("tar runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for file in [
        "checks.json",
        "controller/status.json",
        "nodes/node-1/dump.json",
        "objects/accesspolicies.json",
        "/relay.log",
        "metrics/",
    ] {
        assert!(listed.contains(file), "{file}: {listed}");
    }
    let content = std::fs::read(path).expect("it is there");
    let content = String::from_utf8_lossy(&content);
    assert!(!content.contains("PRIVATE KEY") && !content.contains("eyJhbGciOi"), "a secret is in it");
    assert_eq!(meshctl(scene, &["bug-report", path]).0, 2);
}
