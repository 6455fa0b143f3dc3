//! Who is in the mesh, who is refused, which ports the kubelet may dial (SEMANTICS 1 and 3).

use mesh_api::condition::ENROLLED;

use super::Mesh;

fn mesh(namespace_labels: &str, pod_labels: &str, spec: &str) -> Mesh {
    Mesh::of(&format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: shop, labels: {{{namespace_labels}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: shop, uid: u, labels: {{{pod_labels}}}}}
spec: {{nodeName: n1, {spec}}}
status: {{podIPs: [{{ip: 10.0.0.1}}, {{ip: 'fd00::1'}}]}}
"
    ))
}

const PLAIN: &str = "containers: [{name: main}]";

#[test]
fn the_pods_own_label_wins_over_the_namespaces() {
    let enrolled = |namespace: &str, pod: &str| {
        let mesh = mesh(namespace, pod, PLAIN);
        assert!(mesh.condition("Pod/shop/a", ENROLLED).is_none());
        mesh.workload("n1", "shop/a/u").unwrap().enrolled
    };
    assert!(!enrolled("", ""));
    assert!(enrolled("mesh.internal/mode: enabled", ""));
    assert!(enrolled("", "mesh.internal/mode: enabled"));
    assert!(!enrolled("mesh.internal/mode: enabled", "mesh.internal/mode: disabled"));
    assert!(enrolled("mesh.internal/mode: disabled", "mesh.internal/mode: enabled"));
}

#[test]
fn what_cannot_be_enrolled_is_refused_with_the_reason() {
    let refused = |pod_labels: &str, spec: &str| {
        let mesh = mesh("mesh.internal/mode: enabled", pod_labels, spec);
        let workload = mesh.workload("n1", "shop/a/u").unwrap();
        assert!(!workload.enrolled, "{spec}");
        let condition = mesh.condition("Pod/shop/a", ENROLLED).unwrap();
        let reason = workload.local.unwrap().refused_reason;
        assert_eq!(reason, format!("{}: {}", condition.reason, condition.message));
        condition.reason.clone()
    };
    assert_eq!(refused("", "hostNetwork: true, containers: [{name: main}]"), "HostNetwork");
    assert_eq!(refused("", "runtimeClassName: kata-qemu, containers: [{name: main}]"), "SandboxedRuntime");
    assert_eq!(refused("", "runtimeClassName: gvisor, containers: [{name: main}]"), "SandboxedRuntime");
    assert_eq!(refused("", "containers: [{name: main}, {name: istio-proxy}]"), "OtherMesh");
    assert_eq!(
        refused(
            "",
            "containers: [{name: main}], initContainers: [{name: linkerd-proxy, restartPolicy: Always}]"
        ),
        "OtherMesh"
    );
    assert_eq!(refused("", "containers: [{name: main}, {name: envoy}]"), "OtherMesh");
    assert_eq!(refused("istio.io/dataplane-mode: ambient", PLAIN), "OtherMesh");
    assert_eq!(refused("mesh.internal/mode: 'yes'", PLAIN), "InvalidMode");
    // An application that happens to be Envoy is none.
    assert!(
        mesh("mesh.internal/mode: enabled", "", "containers: [{name: envoy}]")
            .workload("n1", "shop/a/u")
            .unwrap()
            .enrolled
    );
}

/// The mirror of a static pod has no ServiceAccount, and a kubelet may make one in every namespace.
#[test]
fn a_static_pod_has_no_name_in_the_mesh() {
    let mesh = Mesh::of(
        "
apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: shop
  uid: u
  labels: {mesh.internal/mode: enabled}
  annotations: {kubernetes.io/config.mirror: 8bf11e46c9a0c4b8d5a5a3e1f0d2c7b6}
  ownerReferences: [{apiVersion: v1, kind: Node, name: n1, uid: n, controller: true}]
spec: {nodeName: n1, containers: [{name: main}]}
",
    );
    assert_eq!(mesh.condition("Pod/shop/a", ENROLLED).unwrap().reason, "StaticPod");
    assert!(!mesh.workload("n1", "shop/a/8bf11e46c9a0c4b8d5a5a3e1f0d2c7b6").unwrap().enrolled);
}

#[test]
fn a_runtime_class_is_known_by_its_handler_too() {
    let mesh = Mesh::of(
        "
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: safe}
handler: runsc
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, uid: u, labels: {mesh.internal/mode: enabled}}
spec: {nodeName: n1, runtimeClassName: safe, containers: [{name: main}]}
",
    );
    assert_eq!(mesh.condition("Pod/shop/a", ENROLLED).unwrap().reason, "SandboxedRuntime");
}

#[test]
fn probe_ports_are_those_of_probes_and_hooks_of_running_containers() {
    let mesh = mesh(
        "",
        "",
        "
    containers: [
      {name: main,
       ports: [{name: http, containerPort: 8080}, {name: grpc, containerPort: 9000}],
       livenessProbe: {httpGet: {port: http}},
       readinessProbe: {grpc: {port: 9000}},
       startupProbe: {tcpSocket: {port: 8081}},
       lifecycle: {preStop: {httpGet: {port: 8082}}, postStart: {exec: {command: [x]}}}},
      {name: elsewhere, livenessProbe: {httpGet: {port: 7000, host: example.com}}}],
    initContainers: [
      {name: once, livenessProbe: {httpGet: {port: 7001}}},
      {name: beside, restartPolicy: Always, livenessProbe: {httpGet: {port: 8083}}}]",
    );
    let local = mesh.workload("n1", "shop/a/u").unwrap().local.unwrap();
    assert_eq!(local.probe_ports, [8080, 8081, 8082, 8083, 9000]);
}

#[test]
fn only_its_own_node_is_told_what_is_local() {
    let mesh = mesh("", "app: web", PLAIN);
    assert!(mesh.workload("n1", "shop/a/u").unwrap().local.is_some());
    let remote = mesh.workload("n2", "shop/a/u").unwrap();
    assert!(remote.local.is_none());
    assert_eq!(remote.addresses.len(), 2);
    assert_eq!((remote.workload.as_str(), remote.service_account.as_str()), ("web", "default"));
    assert_ne!(remote.group, 0);
}

#[test]
fn pods_that_are_not_scheduled_or_have_ended_are_not_sent() {
    let with = |metadata: &str, status: &str| {
        Mesh::of(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: shop{metadata}}}
spec: {{nodeName: n1, containers: [{{name: main}}]}}
status: {{{status}}}
"
        ))
        .shared
        .len()
    };
    assert_eq!(with("", ""), 0);
    assert_eq!(with(", uid: u", ""), 1);
    assert_eq!(with(", uid: u", "phase: Failed"), 0);
    assert_eq!(with(", uid: u", "phase: Succeeded"), 0);
}

/// Hashes that fall together cannot be had for a test, so the second pod is given the first one's.
#[test]
fn of_two_classes_with_one_group_the_later_gives_way() {
    use std::sync::Arc;

    use crate::build::{enrol::Enrolment, pod::PodView, pods::Pods, settings::Settings};

    let labels = [(mesh_api::labels::MODE.to_owned(), mesh_api::labels::MODE_ENABLED.to_owned())];
    let view = |namespace: &str| {
        let pod = k8s_openapi::api::core::v1::Pod {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                uid: Some(format!("u-{namespace}")),
                ..Default::default()
            },
            ..Default::default()
        };
        let name = crate::objects::ObjectName::new(namespace, "p");
        PodView::of(&name, &pod, &labels.clone().into(), |_| None, &Settings::default())
    };
    let (first, mut second) = (view("bank"), view("thief"));
    let mut pods = Pods::default();
    pods.replace(&first.name.clone(), Some(Arc::new(first.clone())));
    assert!(pods.other_class_of(&second).is_none() && pods.other_class_of(&first).is_none());
    second.group = first.group;
    second.give_way(pods.other_class_of(&second).unwrap());
    assert_ne!(second.group, first.group);
    let Enrolment::Refused(refusal) = &second.enrolment else { panic!("{second:?}") };
    assert_eq!(refusal.reason, "GroupTaken");
    assert!(refusal.message.contains("thief") && refusal.message.contains("bank"), "{}", refusal.message);
    assert!(pods.other_class_of(&second).is_none());
}
