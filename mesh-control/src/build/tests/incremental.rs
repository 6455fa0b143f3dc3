//! After any series of updates the same is published as by a fresh build of the last state.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{Builder, Mesh};
use crate::{
    objects::{ObjectName, Objects},
    source::of_yaml,
};

/// One random state: any subset of a pool of objects, in variants.
fn state() -> impl Strategy<Value = String> {
    let label =
        select(vec!["app: web", "app: db", "app: web, tier: gold", "app: db, mesh.internal/mode: enabled"]);
    let node = select(vec!["n1", "n2"]);
    let ready = select(vec!["True", "False"]);
    let port = select(vec![8080_u16, 9090]);
    let pods = vec((0..6_usize, label, node, ready, port), 0..6);
    let services = vec(
        (select(vec!["web", "db"]), select(vec!["PreferClose", ""]), select(vec!["Local", "Cluster"])),
        0..3,
    );
    let policies = vec((0..4_usize, select(POLICIES.to_vec())), 0..4);
    let others = vec(select(OTHERS.to_vec()), 0..3);
    let routes = vec((0..3_usize, select(vec!["shop", "other"]), select(ROUTES.to_vec())), 0..4);
    (pods, services, policies, others, routes).prop_map(|(pods, services, policies, others, routes)| {
        let mut text = String::new();
        for (index, labels, node, ready, port) in pods {
            text += &format!(
                "---
apiVersion: v1
kind: Pod
metadata: {{name: p{index}, namespace: shop, uid: u{index}-{node}, labels: {{{labels}}}}}
spec: {{nodeName: {node}, serviceAccountName: s{}, containers: [{{name: main, ports: [{{name: http, containerPort: {port}}}]}}]}}
status: {{podIP: 10.0.0.{index}, conditions: [{{type: Ready, status: '{ready}'}}]}}
",
                index % 2
            );
        }
        for (app, distribution, internal) in services {
            let distribution = if distribution.is_empty() { String::new() } else { format!(", trafficDistribution: {distribution}") };
            text += &format!(
                "---
apiVersion: v1
kind: Service
metadata: {{name: {app}, namespace: shop}}
spec: {{clusterIP: 10.96.0.1, selector: {{app: {app}}}, ports: [{{port: 80, targetPort: http, nodePort: 30000}}], internalTrafficPolicy: {internal}{distribution}}}
"
            );
        }
        for (index, spec) in policies {
            let kind = if spec.contains("tier:") { "ClusterAccessPolicy" } else { "AccessPolicy" };
            text += &format!("---\napiVersion: mesh.internal/v1alpha1\nkind: {kind}\nmetadata: {{name: x{index}, namespace: shop, generation: 1}}\nspec: {spec}\n");
        }
        for (index, namespace, (kind, spec)) in routes {
            text += &format!("---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r{index}, namespace: {namespace}, generation: 1}}\nspec: {spec}\n");
        }
        text + &others.concat()
    })
}

const POLICIES: [&str; 7] = [
    "{selector: {matchLabels: {app: web}}, ingress: [{from: [{serviceAccounts: [s0]}], ports: [{port: http}]}]}",
    "{targetRefs: [{kind: Service, name: web}], ingress: [{from: [{pods: {matchLabels: {app: db}}}]}]}",
    "{selector: {}, egress: [{to: [{services: [{name: db}]}]}, {to: [{pods: {}}], ports: [{port: http}]}]}",
    "{selector: {matchLabels: {tier: gold}}, ingress: [{action: Deny, http: [{}]}]}",
    "{tier: Admin, priority: 1, subject: {}, ingress: [{action: Deny, from: [{namespaceSelector: {matchLabels: {env: dev}}}]}]}",
    "{tier: Admin, priority: 1, subject: {}, ingress: [{action: Allow, ports: [{port: http}]}]}",
    "{tier: Baseline, subject: {namespaces: {matchLabels: {env: dev}}}, egress: [{action: Deny}]}",
];

/// None that is refused as a whole: what such a one was before stays in force.
const ROUTES: [(&str, &str); 5] = [
    (
        "HTTPRoute",
        "{parentRefs: [{group: '', kind: Service, name: web, namespace: shop}], rules: [{backendRefs: [{name: db, namespace: shop, port: 80}]}]}",
    ),
    (
        "HTTPRoute",
        "{parentRefs: [{group: '', kind: Service, name: web, namespace: shop, port: 80}, {group: '', kind: Service, name: db, namespace: shop}], rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: web, namespace: shop, port: 80}]}, {matches: [{method: get}]}]}",
    ),
    (
        "GRPCRoute",
        "{parentRefs: [{group: '', kind: Service, name: web, namespace: shop}], rules: [{matches: [{method: {service: a.B}}], backendRefs: [{name: gone, port: 80}]}]}",
    ),
    (
        "TCPRoute",
        "{parentRefs: [{group: '', kind: Service, name: db, namespace: shop}], rules: [{backendRefs: [{name: web, namespace: shop, port: 80}]}]}",
    ),
    ("HTTPRoute", "{parentRefs: [{name: gateway}]}"),
];

const OTHERS: [&str; 5] = [
    "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {env: dev, mesh.internal/mode: enabled}}\n",
    "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}]}\n",
    "---\napiVersion: v1\nkind: Node\nmetadata: {name: n3, labels: {topology.kubernetes.io/zone: z1}}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.3}]}\n",
    "---\napiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, generation: 3}\nspec: {defaults: {access: Deny, egress: {access: Deny}}}\n",
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP}]}\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn updates_come_to_what_a_fresh_build_gives(states in vec(state(), 1..6)) {
        let mut builder = Builder::default();
        let mut mesh = Mesh::default();
        for yaml in states {
            let objects = of_yaml(&yaml).objects;
            mesh.apply(builder.update(objects.clone()));
            let fresh = Mesh::of_objects(objects);
            prop_assert_eq!(&mesh, &fresh);
        }
    }
}

#[test]
fn a_state_that_is_the_same_changes_nothing() {
    let objects = of_yaml(&super::pod("a", "n1", "10.0.0.1", "app: web")).objects;
    let mut builder = Builder::default();
    assert_eq!(builder.update(objects.clone()).updated.len(), 4);
    let again = builder.update(objects);
    assert!(again.updated.is_empty() && again.removed.is_empty());
}

#[test]
fn a_pod_that_turns_ready_changes_its_service_alone() {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}
";
    let of = |ready: &str| -> Objects {
        let pod = super::pod("a", "n1", "10.0.0.1", "app: web").replace("'True'", ready);
        of_yaml(&(service.to_owned() + &pod)).objects
    };
    let mut builder = Builder::default();
    builder.update(of("'False'"));
    let changes = builder.update(of("'True'"));
    let names: Vec<_> = changes.updated.iter().map(|(_, key, _)| key.name.to_string()).collect();
    assert_eq!(names, ["shop/web"]);
    // The pod's own object is another pointer now, its view the same.
    assert!(Arc::strong_count(&builder.objects.pods[&ObjectName::new("shop", "a")]) >= 1);
}
