//! What a change costs in a mesh of 1,000 Services and 5,000 pods.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::PodStatus;

use super::Builder;
use crate::{
    objects::{ObjectName, Objects},
    source::of_yaml,
};

const SERVICES: usize = 1_000;
const PODS_EACH: usize = 5;
const NODES: usize = 20;

fn objects() -> Objects {
    let mut text = String::new();
    for service in 0..SERVICES {
        let namespace = format!("ns{}", service % 10);
        text += &format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{service}, namespace: {namespace}}}
spec: {{clusterIP: 10.96.{}.{}, selector: {{app: a{service}}}, ports: [{{port: 80, targetPort: http}}]}}
",
            service / 250,
            service % 250
        );
        for pod in 0..PODS_EACH {
            text += &format!(
                "---
apiVersion: v1
kind: Pod
metadata: {{name: p{service}-{pod}, namespace: {namespace}, uid: u{service}-{pod}, labels: {{app: a{service}, mesh.internal/mode: enabled}}}}
spec: {{nodeName: n{}, serviceAccountName: s{service}, containers: [{{name: main, ports: [{{name: http, containerPort: 8080}}]}}]}}
status: {{phase: Running, podIP: 10.{}.{}.{}, conditions: [{{type: Ready, status: 'True'}}]}}
",
                (service + pod) % NODES,
                pod,
                service / 250,
                service % 250
            );
        }
    }
    for policy in 0..100 {
        text += &format!(
            "---
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {{name: x{policy}, namespace: ns{}}}
spec: {{selector: {{matchLabels: {{app: a{policy}}}}}, ingress: [{{from: [{{serviceAccounts: [s{}]}}], ports: [{{port: http}}]}}]}}
",
            policy % 10,
            policy + 10
        );
    }
    of_yaml(&text).objects
}

#[test]
fn one_pods_change_costs_little_among_five_thousand() {
    let objects = objects();
    let mut builder = Builder::default();
    let began = Instant::now();
    let all = builder.update(objects.clone()).updated.len();
    let whole = began.elapsed();
    let mut times = Vec::new();
    for index in 0..20 {
        let mut next = builder.objects.clone();
        let name = ObjectName::new("ns7", "p7-0");
        let pod = next.pods.get_mut(&name).unwrap();
        let status = PodStatus {
            pod_ip: Some(format!("10.9.0.{index}")),
            pod_ips: None,
            ..pod.status.clone().unwrap()
        };
        Arc::make_mut(pod).status = Some(status);
        let began = Instant::now();
        let changes = builder.update(next);
        times.push(began.elapsed());
        // The pod for all nodes, for its own, and its Service.
        assert_eq!(changes.updated.len(), 3);
    }
    times.sort();
    println!(
        "{all} resources built in {whole:?}; one pod's change: median {:?}, longest {:?}",
        times[10], times[19]
    );
}
