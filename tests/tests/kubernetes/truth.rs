//! What the mesh says of pods and policies is true, and is where `kubectl` looks for it.

use std::{thread, time::Duration};

use mesh_tests::cluster::trial::until;

use crate::scene::{Mesh, Scene, mesh};

const PAIR: &str = include_str!("pair.yaml");

/// Where a pod says whether it is in the mesh.
const ENROLLED: &str = r#"{.status.conditions[?(@.type=="mesh.internal/Enrolled")]"#;

fn pair(namespace: &str) -> Scene {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Preferred}}");
    let scene = mesh.scene(namespace, &PAIR.replace("NAMESPACE", namespace));
    for pod in ["pod/client", "pod/server"] {
        scene.wait_enrolled(pod);
    }
    scene
}

/// A part of the condition of a pod; empty where it has none.
fn enrolled(scene: &Scene, pod: &str, part: &str) -> String {
    scene.value(pod, &format!("{ENROLLED}.{part}}}"))
}

/// Waits until `kubectl describe` shows an event with this reason and these words.
fn described(scene: &Scene, object: &str, reason: &str, words: &str) {
    until(&format!("{reason} of {object}"), || {
        let said = scene.ask(&["describe", object]);
        let told = said.split("Events:").nth(1).unwrap_or_default();
        let is_told = told.lines().any(|line| line.contains(reason) && line.contains(words));
        if is_told { Ok(()) } else { Err(said) }
    });
}

fn apply(mesh: &Mesh, kind: &str, name: &str, spec: &str) {
    let namespace = if kind == "AccessPolicy" { ", namespace: decides" } else { "" };
    let object = format!(
        "{{apiVersion: mesh.internal/v1alpha1, kind: {kind}, metadata: {{name: {name}{namespace}}}, spec: {spec}}}"
    );
    mesh.cluster.kubectl().apply(&object).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn a_pod_says_whether_it_is_in_the_mesh() {
    let scene = pair("truth");
    assert_eq!(enrolled(&scene, "pod/server", "status"), "True");
    until("nothing to be wrong with it", || match enrolled(&scene, "pod/server", "message").as_str() {
        "node node-1 enforces it" => Ok(()),
        other => Err(other.to_owned()),
    });
    // Nothing changes, so nothing is written: neither by the controller nor by kubelet.
    // What kubelet had still to say of a new pod comes first.
    let version = || scene.value("pod/server", "{.metadata.resourceVersion}");
    until("nothing to be written", || {
        let before = version();
        thread::sleep(Duration::from_secs(8));
        if version() == before { Ok(()) } else { Err("it is written over and over".to_owned()) }
    });

    let host = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: host, namespace: truth}}, spec: {{hostNetwork: true, \
         nodeName: node-1, terminationGracePeriodSeconds: 1, containers: [{{name: main, image: {}, \
         command: [mesh-echo, server, '--tcp=9919']}}]}}}}",
        crate::scene::IMAGE
    );
    scene.mesh.cluster.kubectl().apply(&host).expect("it is a pod");
    scene.wait("pod/host", "condition=mesh.internal/Enrolled=False");
    assert_eq!(enrolled(&scene, "pod/host", "reason"), "HostNetwork");
    described(&scene, "pod/host", "NotEnrolled", "spec.hostNetwork is true");

    // One that has done its work was in the mesh to its end, and that it is gone is no trouble.
    let done = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: done, namespace: truth}}, spec: {{nodeName: node-2, \
         restartPolicy: Never, containers: [{{name: main, image: {}, \
         command: [mesh-echo, client, --ipv4, --first, --count=5000, --interval=20, tcp, 'server:9000']}}]}}}}",
        crate::scene::IMAGE
    );
    scene.mesh.cluster.kubectl().apply(&done).expect("it is a pod");
    scene.wait("pod/done", "jsonpath={.status.phase}=Succeeded");
    thread::sleep(Duration::from_secs(12));
    assert_ne!(enrolled(&scene, "pod/done", "status"), "False");
    let pending = [
        "get",
        "events",
        "--field-selector=reason=EnrolmentPending,involvedObject.name=done",
        "--output=name",
    ];
    assert_eq!(scene.ask(&pending), "");

    // Who leaves says so no longer; who comes back ran before.
    scene.ask(&["label", "pod", "client", "mesh.internal/mode=disabled"]);
    until("the client to be out", || match enrolled(&scene, "pod/client", "status").as_str() {
        "" => Ok(()),
        other => Err(other.to_owned()),
    });
    scene.ask(&["label", "pod", "client", "mesh.internal/mode=enabled", "--overwrite"]);
    scene.wait("pod/client", "condition=mesh.internal/Enrolled");
    assert_eq!(enrolled(&scene, "pod/client", "reason"), "LateEnrolled");
    described(&scene, "pod/client", "LateEnrolled", "ran before that began");
    scene.wait("pod/client", "condition=Ready");
}

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn a_policy_says_whether_the_nodes_have_it_and_whether_it_decides() {
    let scene = pair("decides");
    let mesh = scene.mesh;
    let wide = "{selector: {}, ingress: [{name: all}]}";
    apply(mesh, "AccessPolicy", "a-wide", wide);
    apply(
        mesh,
        "AccessPolicy",
        "b-narrow",
        "{selector: {}, ingress: [{name: some, from: [{namespaces: [decides]}]}]}",
    );
    for policy in ["accesspolicy/a-wide", "accesspolicy/b-narrow"] {
        scene.wait(policy, "condition=Programmed");
    }
    let message = |policy: &str, kind: &str| {
        scene.value(policy, &format!(r#"{{.status.conditions[?(@.type=="{kind}")].message}}"#))
    };
    assert_eq!(message("accesspolicy/a-wide", "Programmed"), "2/2 nodes at generation 1");
    scene.wait("accesspolicy/b-narrow", "condition=Shadowed");
    assert!(message("accesspolicy/b-narrow", "Shadowed").contains("AccessPolicy/decides/a-wide rule `all`"));
    described(&scene, "accesspolicy/b-narrow", "Shadowed", "a-wide");
    assert_eq!(message("accesspolicy/a-wide", "Shadowed"), "", "it decides");

    apply(mesh, "AccessPolicy", "a-wide", &wide.replace("name: all", "name: all, ports: [{port: 9000}]"));
    scene.wait(
        "accesspolicy/a-wide",
        "jsonpath={.status.conditions[?(@.type==\"Programmed\")].observedGeneration}=2",
    );
    scene.wait("accesspolicy/a-wide", "condition=Programmed");
    assert_eq!(message("accesspolicy/a-wide", "Programmed"), "2/2 nodes at generation 2");
    until("the narrow one to decide again", || match message("accesspolicy/b-narrow", "Shadowed").as_str() {
        "" => Ok(()),
        other => Err(other.to_owned()),
    });

    apply(
        mesh,
        "AccessPolicy",
        "c-dangling",
        "{selector: {}, ingress: [{from: [{serviceAccounts: [nobody-has-it]}]}]}",
    );
    scene.wait("accesspolicy/c-dangling", "condition=ResolvedRefs=False");
    described(&scene, "accesspolicy/c-dangling", "ReferenceNotFound", "nobody-has-it");

    // Of cluster scope, told in the namespace `default`.
    let names = ["decides-allow", "decides-deny"];
    for (name, action) in names.into_iter().zip(["Allow", "Deny"]) {
        let spec = format!(
            "{{tier: Admin, priority: 7, subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: decides}}}}}}, \
             ingress: [{{action: {action}, ports: [{{port: 9999}}]}}]}}"
        );
        apply(mesh, "ClusterAccessPolicy", name, &spec);
    }
    for name in names {
        let policy = format!("clusteraccesspolicy/{name}");
        scene.wait(&policy, "condition=Conflicted");
        described(&scene, &policy, "Conflicted", "give the policies different priorities");
    }
    for name in names {
        mesh.ask(&["delete", "clusteraccesspolicy", name]);
    }
}
