//! SEMANTICS 5.3: what is wrong is said of the object that it is wrong with, by field and value; the rest goes on.

use std::time::Duration;

use mesh_tests::{
    socket::plaza::SOON,
    trial::{
        Condition,
        Expect::{Answer, Refused},
        Trial, echo, eventually,
    },
};

use super::cluster;

/// Waits for a condition that says all of `parts`.
fn says(cluster: &Trial, kind: &str, key: &str, condition: &str, reason: &str, parts: &[&str]) -> Condition {
    let mut last = None;
    let start = std::time::Instant::now();
    while start.elapsed() < SOON {
        last = cluster.condition(kind, key, condition);
        if let Some(seen) = &last
            && seen.reason == reason
            && parts.iter().all(|part| seen.message.contains(part))
        {
            return seen.clone();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{kind} {key} does not say {condition} {reason} with {parts:?}: {last:?}");
}

fn guarded(namespace: &str) -> String {
    format!(
        "{{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {{name: guard, namespace: {namespace}}},
           spec: {{selector: {{matchLabels: {{app: server}}}}, ingress: [{{ports: [{{port: 8080}}]}}]}}}}"
    )
}

/// A namespace whose policy is enforced; checked before and after each mishap.
fn put_working(namespace: &str) {
    let server = echo(namespace, "server").serve("--tcp 8081");
    cluster().put_all(namespace, &[&server, &echo(namespace, "client"), &guarded(namespace)]);
    still_works(namespace);
}

fn still_works(namespace: &str) {
    let (client, server) = (format!("{namespace}/client"), format!("{namespace}/server"));
    cluster().expect(&[
        (&client, &format!("{server}:8080"), Answer),
        (&client, &format!("{server}:8081"), Refused("NoRuleAllows")),
    ]);
}

/// Issue: bad YAML gets a condition with file, document and line; other documents of the file hold.
#[test]
fn a_document_that_is_no_yaml_is_named_and_the_rest_holds() {
    let cluster = cluster();
    put_working("yaml");
    cluster.write_raw("yaml-bad", "a: 1\nb: [1, 2\nc: }\n");
    says(cluster, "File", "yaml-bad.yaml", "Accepted", "Unparsable", &["document 1", "line 1"]);
    still_works("yaml");
    cluster.put("yaml-other", "{apiVersion: v1, kind: Service, metadata: {name: late, namespace: yaml}, spec: {selector: {app: client}, ports: [{port: 80, targetPort: 8080}]}}");
    cluster.expect(&[("yaml/server", "svc/yaml/late:80", Answer)]);
    cluster.remove("yaml-bad");
    eventually("its status goes with the file", SOON, || {
        cluster.status("File", "yaml-bad.yaml").is_none().then_some(())
    });
}

/// Issue: of two objects with one name the first counts, and the object says in which files it stands.
#[test]
fn a_name_that_is_there_twice_is_said_of_the_object() {
    let cluster = cluster();
    put_working("twice");
    let open = guarded("twice").replace("ports: [{port: 8080}]", "ports: [{port: 8081}]");
    cluster.write("zz-twice", open);
    says(cluster, "AccessPolicy", "twice/guard", "Unique", "SameNameTwice", &["twice.yaml", "zz-twice.yaml"]);
    still_works("twice");
    cluster.remove("zz-twice");
    eventually("it is forgotten", SOON, || {
        cluster.condition("AccessPolicy", "twice/guard", "Unique").is_none().then_some(())
    });
}

/// Issue: an unknown field is an error that names it, wherever it is, and the policy fails closed.
#[test]
fn an_unknown_field_is_an_error_by_name() {
    let cluster = cluster();
    put_working("unknown");
    for (name, spec, path) in [
        ("top", "selector: {}, selectr: {}, ingress: [{}]", "spec.selectr"),
        ("rule", "selector: {}, ingress: [{form: []}]", "spec.ingress[0].form"),
        (
            "peer",
            "selector: {}, ingress: [{from: [{serviceAccount: [a]}]}]",
            "spec.ingress[0].from[0].serviceAccount",
        ),
        (
            "port",
            "selector: {}, ingress: [{ports: [{port: 80, proto: TCP}]}]",
            "spec.ingress[0].ports[0].proto",
        ),
        ("label", "selector: {matchLabel: {a: b}}, ingress: [{}]", "spec.selector.matchLabel"),
    ] {
        let policy = format!(
            "{{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {{name: {name}, namespace: unknown-{name}}}, spec: {{{spec}}}}}"
        );
        cluster.write("unknown-field", policy);
        let key = format!("unknown-{name}/{name}");
        let seen = says(cluster, "AccessPolicy", &key, "Accepted", "UnknownField", &[path]);
        assert_eq!(seen.status, "False");
    }
    cluster.remove("unknown-field");
    still_works("unknown");
}

/// Issue: kinds of ours that are not built, and kinds that nobody knows, are refused by name.
#[test]
fn kinds_that_are_not_built_or_not_known_are_refused_by_name() {
    let cluster = cluster();
    put_working("kinds");
    let mesh = |kind: &str| {
        format!(
            "{{apiVersion: mesh.internal/v1alpha1, kind: {kind}, metadata: {{name: x, namespace: kinds}}, spec: {{}}}}"
        )
    };
    cluster.write_raw("kinds-unbuilt", &mesh("TrafficPolicy"));
    says(cluster, "TrafficPolicy", "kinds/x", "Accepted", "KindNotBuilt", &["TrafficPolicy"]);
    cluster.write_raw("kinds-misspelt", &mesh("AccesPolicy"));
    says(cluster, "AccesPolicy", "kinds/x", "Accepted", "UnknownKind", &["AccesPolicy", "AccessPolicy"]);
    let backend = "{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackend, metadata: {name: x, namespace: kinds}, spec: {}}";
    cluster.write_raw("kinds-backend", backend);
    says(cluster, "XBackend", "kinds/x", "Accepted", "KindNotBuilt", &["XBackend"]);
    cluster
        .write_raw("kinds-foreign", "{apiVersion: v1, kind: Servise, metadata: {name: x, namespace: kinds}}");
    says(cluster, "Servise", "kinds/x", "Accepted", "UnknownKind", &["Servise"]);
    still_works("kinds");
    ["kinds-unbuilt", "kinds-misspelt", "kinds-backend", "kinds-foreign"]
        .iter()
        .for_each(|file| cluster.remove(file));
}

/// Issue: a value of the wrong kind is named with field and value, in Kubernetes' own kinds as well.
#[test]
fn a_wrong_value_is_named_with_its_field() {
    let cluster = cluster();
    put_working("values");
    let policy = |spec: &str| {
        format!(
            "{{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {{name: bad, namespace: values-bad}}, spec: {{{spec}}}}}"
        )
    };
    for (spec, parts) in [
        ("selector: {}, mode: Strict, ingress: [{}]", ["spec.mode", "Strict"]),
        ("selector: {}, ingress: [{action: Drop}]", ["spec.ingress[0].action", "Drop"]),
        ("selector: {}, ingress: [{ports: [{port: 70000}]}]", ["spec.ingress[0].ports[0].port", "70000"]),
        (
            "selector: {}, ingress: [{ports: [{port: 90, endPort: 80}]}]",
            ["spec.ingress[0].ports[0].endPort", "80 is below port 90"],
        ),
        (
            "selector: {}, ingress: [{from: [{cidrs: [10.0.0.0/40]}]}]",
            ["spec.ingress[0].from[0].cidrs", "10.0.0.0/40"],
        ),
        ("selector: {}, ingress: [{action: Pass}]", ["spec.ingress[0].action", "Pass"]),
        (
            "selector: {}, targetRefs: [{kind: Service, name: x}], ingress: [{}]",
            ["selector and targetRefs", "both"],
        ),
        ("selector: {}", ["ingress or egress", "neither"]),
    ] {
        cluster.write("values-bad", policy(spec));
        says(cluster, "AccessPolicy", "values-bad/bad", "Accepted", "Invalid", &parts);
    }
    cluster.write_raw("values-service", "{apiVersion: v1, kind: Service, metadata: {name: bad, namespace: values-bad}, spec: {ports: [{port: http}]}}");
    says(cluster, "Service", "values-bad/bad", "Accepted", "Invalid", &["spec.ports[0].port"]);
    still_works("values");
    ["values-bad", "values-service"].iter().for_each(|file| cluster.remove(file));
}

/// Issue: references that lead nowhere are named, and are followed once they lead somewhere.
#[test]
fn dangling_references_are_named_until_they_resolve() {
    let cluster = cluster();
    put_working("dangling");
    let policy = "{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {name: lost, namespace: dangling},
      spec: {selector: {matchLabels: {app: client}}, ingress: [
        {name: who, from: [{serviceAccounts: [ghost]}, {namespaces: [nowhere]}]}, {name: where, ports: [{port: nameless}]}],
        egress: [{name: what, to: [{services: [{name: missing}]}]}, {name: rest}]}}";
    cluster.put("dangling-policy", policy);
    says(
        cluster,
        "AccessPolicy",
        "dangling/lost",
        "ResolvedRefs",
        "ReferenceNotFound",
        &["`ghost`", "`nowhere`", "`nameless`", "dangling/missing"],
    );
    let target = "{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {name: aimless, namespace: dangling},
      spec: {targetRefs: [{kind: Service, name: missing}], ingress: [{name: nobody, action: Deny}]}}";
    cluster.put("dangling-target", target);
    says(
        cluster,
        "AccessPolicy",
        "dangling/aimless",
        "ResolvedRefs",
        "ReferenceNotFound",
        &["spec.targetRefs", "dangling/missing"],
    );
    still_works("dangling");
    cluster.put("dangling-service", "{apiVersion: v1, kind: Service, metadata: {name: missing, namespace: dangling}, spec: {selector: {app: server}, ports: [{port: 8080}]}}");
    eventually("the target is found", SOON, || {
        cluster
            .condition("AccessPolicy", "dangling/aimless", "ResolvedRefs")
            .is_none_or(|seen| seen.status == "True")
            .then_some(())
    });
    cluster.expect(&[("dangling/client", "dangling/server:8080", Refused("PolicyDenied"))]);
}

/// DESIGN 5: there is one MeshConfig; another name has no effect and says so.
#[test]
fn a_second_mesh_config_has_no_effect_and_says_so() {
    let cluster = cluster();
    put_working("second");
    cluster.write("second-config", "{apiVersion: mesh.internal/v1alpha1, kind: MeshConfig, metadata: {name: mine}, spec: {defaults: {access: Deny}}}");
    says(cluster, "MeshConfig", "mine", "Accepted", "Invalid", &["`mine`", "default"]);
    cluster.expect(&[("second/server", "second/client:8080", Answer)]);
    cluster.remove("second-config");
}
