//! What the installation promises of privileges, rights and tenants.

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{object, with};

/// That Kubernetes' own type has every field of the object.
fn known<T: DeserializeOwned + Serialize + Debug>(object: &Value) {
    let read: T = serde_json::from_value(object.clone()).unwrap();
    let written = serde_json::to_value(read).unwrap();
    contains(&written, object, "");
}

fn contains(written: &Value, object: &Value, path: &str) {
    match (written, object) {
        (Value::Object(written), Value::Object(fields)) => {
            for (name, value) in fields {
                let there = written.get(name).unwrap_or_else(|| panic!("{path}.{name} is no field"));
                contains(there, value, &format!("{path}.{name}"));
            }
        }
        (Value::Array(written), Value::Array(elements)) => {
            for (index, (written, element)) in written.iter().zip(elements).enumerate() {
                contains(written, element, &format!("{path}[{index}]"));
            }
        }
        // Quantities and numbers-or-texts may change their form.
        _ => {}
    }
}

#[test]
fn every_field_of_every_object_is_one_that_kubernetes_knows() {
    let chosen = json!({
        "namespace": {"create": true},
        "images": {"pullSecrets": [{"name": "registry"}]},
        "agent": {"podsRoots": ["a"], "uplinks": ["b"], "workers": 2},
        "controller": {"tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}]},
        "crds": {"keep": true},
    });
    for over in [json!({}), chosen, json!({"uninstall": true})] {
        for document in with(&over) {
            let object: Value = serde_yaml_ng::from_str(&document.text).unwrap();
            match document.kind.as_str() {
                "Namespace" => known::<Namespace>(&object),
                "CustomResourceDefinition" => known::<CustomResourceDefinition>(&object),
                "ServiceAccount" => known::<ServiceAccount>(&object),
                "ClusterRole" => known::<ClusterRole>(&object),
                "ClusterRoleBinding" => known::<ClusterRoleBinding>(&object),
                "Role" => known::<Role>(&object),
                "RoleBinding" => known::<RoleBinding>(&object),
                "Service" => known::<Service>(&object),
                "Deployment" => known::<Deployment>(&object),
                "DaemonSet" => known::<DaemonSet>(&object),
                "PodDisruptionBudget" => known::<PodDisruptionBudget>(&object),
                "ValidatingAdmissionPolicy" => known::<ValidatingAdmissionPolicy>(&object),
                "ValidatingAdmissionPolicyBinding" => known::<ValidatingAdmissionPolicyBinding>(&object),
                kind => panic!("{kind} {} is not looked at", document.name),
            }
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/part-of"], "mesh", "{} {}", document.kind, document.name);
        }
    }
}

#[test]
fn wire_has_the_capabilities_that_are_explained_and_relay_none() {
    let documents = with(&json!({}));
    let agent = object(&documents, "DaemonSet", "mesh-agent");
    let pod = &agent["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().unwrap();
    let [wire, relay] = containers.as_slice() else { panic!("two containers: {containers:?}") };
    assert_eq!((&wire["name"], &relay["name"]), (&json!("wire"), &json!("relay")));
    for container in [wire, relay] {
        let context = &container["securityContext"];
        assert_eq!(context["privileged"], json!(false));
        assert_eq!(context["allowPrivilegeEscalation"], json!(false));
        assert_eq!(context["readOnlyRootFilesystem"], json!(true));
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    }
    let added = &wire["securityContext"]["capabilities"]["add"];
    assert_eq!(*added, json!(["BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "CHOWN"]));
    assert!(relay["securityContext"]["capabilities"].get("add").is_none());
    assert_eq!(relay["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["priorityClassName"], "system-node-critical");

    let text = &documents.iter().find(|document| document.kind == "DaemonSet").unwrap().text;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut explained = false;
    for pair in lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("- ") && added.as_array().unwrap().contains(&json!(&pair[1][2..])))
    {
        assert!(pair[0].starts_with("# "), "{} is not explained", pair[1]);
        explained = true;
    }
    assert!(explained);
}

#[test]
fn the_agent_sees_three_directories_of_its_node_and_relay_one() {
    let documents = with(&json!({}));
    let agent = object(&documents, "DaemonSet", "mesh-agent");
    let pod = &agent["spec"]["template"]["spec"];
    let mut paths: Vec<&str> = Vec::new();
    for volume in pod["volumes"].as_array().unwrap() {
        paths.extend(volume["hostPath"]["path"].as_str());
    }
    paths.sort_unstable();
    assert_eq!(paths, ["/run/mesh", "/sys/fs/bpf", "/sys/fs/cgroup"]);
    let mounts = |container: usize| -> Vec<&str> {
        let mounts = pod["containers"][container]["volumeMounts"].as_array().unwrap();
        mounts.iter().filter_map(|mount| mount["name"].as_str()).collect()
    };
    assert_eq!(mounts(0), ["run", "pod", "cgroup2", "bpffs"]);
    assert_eq!(mounts(1), ["run", "pod", "controller"]);
}

#[test]
fn the_agent_asks_nothing_of_the_api_server() {
    let documents = with(&json!({}));
    for document in documents.iter().filter(|document| document.kind.ends_with("RoleBinding")) {
        assert!(!document.text.contains("mesh-agent"), "{}", document.text);
    }
    let agent = object(&documents, "DaemonSet", "mesh-agent");
    assert_eq!(agent["spec"]["template"]["spec"]["automountServiceAccountToken"], json!(false));
}

#[test]
fn no_right_is_a_wildcard_and_secrets_are_named() {
    for document in with(&json!({})).iter().filter(|document| document.kind.ends_with("Role")) {
        let role: Value = serde_yaml_ng::from_str(&document.text).unwrap();
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(
                !text.contains('*') && !text.contains("escalate") && !text.contains("impersonate"),
                "{text}"
            );
            if text.contains("secrets") && rule["verbs"] != json!(["create"]) {
                let names = &rule["resourceNames"];
                assert!(*names == json!(["mesh-ca"]) || *names == json!(["mesh-authority"]), "{text}");
                assert_eq!(document.kind, "Role");
            }
        }
    }
}

#[test]
fn uninstalling_runs_the_removal_on_every_node_at_once() {
    let documents = with(&json!({"uninstall": true}));
    let pod = object(&documents, "DaemonSet", "mesh-agent");
    assert_eq!(pod["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "100%");
    let pod = &pod["spec"]["template"]["spec"];
    for (list, more) in [("initContainers", None), ("containers", Some("--stay"))] {
        let [container] = pod[list].as_array().unwrap().as_slice() else { panic!("one of {list}") };
        let arguments: Vec<&str> =
            container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut wanted = vec![
            "uninstall",
            "--pin-root=/sys/fs/bpf/mesh",
            "--cgroup-root=/host/cgroup",
            "--run-dir=/run/mesh",
        ];
        wanted.extend(more);
        assert_eq!(arguments, wanted);
    }
}

#[test]
fn gateway_apis_definitions_are_never_installed() {
    for document in with(&json!({})) {
        assert!(document.kind != "CustomResourceDefinition" || document.name.ends_with(".mesh.internal"));
    }
}
