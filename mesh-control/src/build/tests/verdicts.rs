//! Random policies over a small world: what nodes are sent decides as the YAML says.

use std::{collections::BTreeMap, net::Ipv4Addr};

use mesh_api::{GroupId, crd::Protocol};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    Mesh,
    oracle::{Question, TestPod, Written, by_rules, naively},
};

/// The pods: labels, account and port vary, addresses tell them apart.
pub(super) fn pods() -> Vec<TestPod> {
    let mut pods = Vec::new();
    for (index, (namespace, account, app, role, http)) in [
        ("a", "s0", "x", "p", 8080),
        ("a", "s0", "x", "", 8080),
        ("a", "s1", "y", "p", 9090),
        ("b", "s0", "x", "p", 9090),
        ("b", "s1", "y", "", 8080),
    ]
    .into_iter()
    .enumerate()
    {
        let mut labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        if !role.is_empty() {
            labels.insert("role".to_owned(), role.to_owned());
        }
        let group =
            GroupId::of(namespace, account, labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let octet = if namespace == "a" { 0 } else { 1 };
        let address = Ipv4Addr::new(10, 0, octet, u8::try_from(index).unwrap() + 1);
        pods.push(TestPod { namespace, account, labels, address, http, group: group.get(), known: true });
    }
    pods
}

/// Identities that are proven from an address that is no pod's.
pub(super) fn proven_alone() -> Vec<TestPod> {
    let all = [("a", "s0"), ("a", "s1"), ("b", "s0"), ("b", "s1")].into_iter();
    all.map(|(namespace, account)| TestPod {
        namespace,
        account,
        labels: BTreeMap::new(),
        address: Ipv4Addr::new(192, 0, 2, 9),
        http: 0,
        group: GroupId::of_identity(namespace, account).get(),
        known: false,
    })
    .collect()
}

pub(super) fn world() -> String {
    let mut text = String::new();
    for (namespace, env) in [("a", "dev"), ("b", "prod")] {
        text += &format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{env: {env}}}}}\n"
        );
        for app in ["x", "y"] {
            text += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {app}, namespace: {namespace}}}\nspec: {{selector: {{app: {app}}}, ports: [{{name: http, port: 80, targetPort: http}}]}}\n"
            );
        }
    }
    for (index, pod) in pods().iter().enumerate() {
        let labels = serde_json::to_string(&pod.labels).unwrap();
        text += &format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: p{index}, namespace: {}, uid: u, labels: {labels}}}
spec: {{nodeName: n1, serviceAccountName: {}, containers: [{{name: main, ports: [{{name: http, containerPort: {}}}]}}]}}
status: {{podIP: {}}}
",
            pod.namespace, pod.account, pod.http, pod.address
        );
    }
    text
}

fn entry(cluster: bool, egress: bool) -> impl Strategy<Value = Value> {
    let mut forms = vec![
        json!({"serviceAccounts": ["s0"], "namespaces": ["a", "b"]}),
        json!({"namespaces": ["b"]}),
        json!({"namespaceSelector": {"matchLabels": {"env": "dev"}}}),
        json!({"namespaceSelector": {"matchLabels": {"env": "dev"}}, "pods": {"matchLabels": {"app": "x"}}}),
        json!({"spiffe": ["spiffe://cluster.local/ns/a/sa/*"]}),
        json!({"spiffe": ["spiffe://cluster.local/ns/*/sa/s1", "spiffe://other/ns/a/sa/s0"]}),
        json!({"pods": {"matchLabels": {"app": "x"}}}),
        json!({"pods": {"matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}, "namespaces": ["b"]}),
        json!({"cidrs": ["10.0.0.0/24"]}),
        json!({"cidrs": ["192.0.2.0/24", "10.0.1.4/32"]}),
        json!({"pods": {}, "cidrs": ["10.0.0.2/31"]}),
    ];
    if !cluster {
        forms.push(json!({"serviceAccounts": ["s1"]}));
    }
    if egress {
        forms.push(json!({"services": [{"name": "x", "namespace": "b"}]}));
        forms.push(json!({"services": [{"name": "y", "namespace": "a"}, {"name": "x", "namespace": "a"}]}));
    }
    select(forms)
}

fn rule(cluster: bool, admin: bool, egress: bool) -> impl Strategy<Value = Value> {
    let actions = if admin { vec!["Allow", "Deny", "Pass"] } else { vec!["Allow", "Deny"] };
    let ports = select(vec![
        json!([{"port": 8080}]),
        json!([{"port": "http"}]),
        json!([{"port": 53, "protocol": "UDP"}, {"port": "http"}]),
        json!([{"port": 8000, "endPort": 9000}]),
        json!([{"port": "nobody"}]),
    ]);
    let mtls = select(vec!["Preferred", "Required"]);
    (select(actions), option::of(vec(entry(cluster, egress), 1..3)), option::of(ports), mtls).prop_map(
        move |(action, peers, ports, mtls)| {
            let mut rule = json!({"action": action, "mtls": mtls});
            if let Some(peers) = peers {
                rule[if egress { "to" } else { "from" }] = json!(peers);
            }
            if let Some(ports) = ports {
                rule["ports"] = ports;
            }
            rule
        },
    )
}

fn directions(cluster: bool, admin: bool) -> impl Strategy<Value = Value> {
    let rules = move |egress| vec(rule(cluster, admin, egress), 0..4);
    let mode = select(vec!["Enforce", "Enforce", "Audit", "Off"]);
    (option::of(rules(false)), rules(true), mode).prop_map(|(ingress, egress, mode)| {
        let mut spec = json!({"mode": mode, "egress": egress});
        if let Some(ingress) = ingress {
            spec["ingress"] = json!(ingress);
        }
        spec
    })
}

pub(super) fn access() -> impl Strategy<Value = (&'static str, Value)> {
    let subject = select(vec![
        json!({"selector": {}}),
        json!({"selector": {"matchLabels": {"app": "x"}}}),
        json!({"targetRefs": [{"group": "", "kind": "Service", "name": "x"}]}),
    ]);
    (select(vec!["a", "b"]), subject, directions(false, false)).prop_map(|(namespace, subject, mut spec)| {
        spec.as_object_mut().unwrap().extend(subject.as_object().unwrap().clone());
        (namespace, spec)
    })
}

pub(super) fn cluster() -> impl Strategy<Value = Value> {
    let subject = select(vec![
        json!({}),
        json!({"pods": {"matchLabels": {"app": "x"}}}),
        json!({"namespaces": {"matchLabels": {"env": "dev"}}}),
    ]);
    let tiered = prop_oneof![
        directions(true, true).prop_map(|spec| ("Admin", spec)),
        directions(true, false).prop_map(|spec| ("Baseline", spec)),
    ];
    (subject, tiered, 0..4_u16).prop_map(|(subject, (tier, mut spec), priority)| {
        spec["subject"] = subject;
        spec["tier"] = json!(tier);
        spec["priority"] = json!(priority);
        spec
    })
}

pub(super) fn document(kind: &str, namespace: &str, index: usize, spec: &Value) -> String {
    let name = format!("x{index:02}");
    let object = json!({"apiVersion": "mesh.internal/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    format!("---\n{object}\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn nodes_are_sent_what_the_yaml_says(access in vec(access(), 0..4), cluster in vec(cluster(), 0..4)) {
        let mut yaml = world();
        let mut written = Vec::new();
        for (index, (namespace, spec)) in access.iter().enumerate() {
            yaml += &document("AccessPolicy", namespace, index, spec);
            written.push(Written::Access(namespace, serde_json::from_value(spec.clone()).unwrap()));
        }
        for (index, spec) in cluster.iter().enumerate() {
            yaml += &document("ClusterAccessPolicy", "", index, spec);
            written.push(Written::Cluster(serde_json::from_value(spec.clone()).unwrap()));
        }
        let mesh = Mesh::of(&yaml);
        let conflicted = (0..cluster.len()).any(|index| mesh.condition(&format!("ClusterAccessPolicy/x{index:02}"), "Conflicted").is_some());
        let (pods, proven) = (pods(), proven_alone());
        for (index, subject) in pods.iter().enumerate() {
            let policy = mesh.policy("n1", &format!("{}/p{index}/u", subject.namespace)).unwrap();
            let stranger = (None, Ipv4Addr::new(192, 0, 2, 7));
            let peers = pods.iter().chain(&proven).map(|pod| (Some(pod), pod.address)).chain([stranger]);
            for (peer, address) in peers {
                for (protocol, port) in [(Protocol::Tcp, 8080), (Protocol::Tcp, 9090), (Protocol::Tcp, 8500), (Protocol::Udp, 53)] {
                    for (egress, audit) in [(false, false), (false, true), (true, false), (true, true)] {
                        if egress && peer.is_some_and(|peer| !peer.known) {
                            continue;
                        }
                        let question = Question { egress, subject, peer, address, protocol, port, audit };
                        let direction = if egress { &policy.egress } else { &policy.ingress };
                        let sent = by_rules(direction.as_ref().unwrap(), question);
                        let meant = naively(&written, &pods, question);
                        // Where equal priorities contradict each other more may be refused, never less.
                        prop_assert!(sent == meant || (conflicted && !sent), "{question:?}: sent {sent}, meant {meant}\n{direction:#?}");
                    }
                }
            }
        }
    }
}
