//! Manifests in, findings out.

use super::{Analysis, Input, Level, analyze, rules::RULES, sarif};
use crate::source::given::Given;

fn of(texts: &[(&str, &str)]) -> Analysis {
    let given = |(name, text): &(&str, &str)| Given { name: (*name).to_owned(), text: (*text).to_owned() };
    analyze(&Input(texts.iter().map(given).collect()))
}

/// Each finding as `file:line level rule object field`.
fn lines(analysis: &Analysis) -> Vec<String> {
    let line = |finding: &super::Finding| {
        let (object, field) = (finding.object.as_deref(), finding.field.as_deref());
        format!(
            "{}:{} {} {} {} {}",
            finding.file,
            finding.line,
            finding.level.name(),
            finding.rule,
            object.unwrap_or("-"),
            field.unwrap_or("-")
        )
    };
    analysis.findings.iter().map(line).collect()
}

const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n";

#[test]
fn every_problem_has_its_own_line() {
    let policy = "---
# Who may call the shop.
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {}
  ingress:
  - name: callers
    from:
    - cidrs: [10.0.0/8]
      namespaces: []
    ports: [{port: 80}]
  - name: more
    form: [{namespaces: [shop]}]
  - name: http
    jwt: {issuer: x}
    ports: [{port: 80}]
---
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec:
  defaults:
    mtls: Sometimes
";
    let analysis = of(&[("policy.yaml", policy), ("namespace.yaml", NAMESPACE)]);
    assert_eq!(
        lines(&analysis),
        [
            "policy.yaml:11 error Invalid AccessPolicy/shop/web spec.ingress[0].from[0].cidrs",
            "policy.yaml:12 error Invalid AccessPolicy/shop/web spec.ingress[0].from[0].namespaces",
            "policy.yaml:15 error UnknownField AccessPolicy/shop/web spec.ingress[1].form",
            "policy.yaml:17 error FieldNotBuilt AccessPolicy/shop/web spec.ingress[2].jwt",
            "policy.yaml:25 error Invalid MeshConfig/default spec.defaults.mtls",
        ]
    );
    assert_eq!((analysis.files, analysis.objects), (2, 3));
}

#[test]
fn names_are_looked_for_in_all_files_and_pods_in_workloads_too() {
    let policy = "
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  ingress:
  - from: [{namespaces: [shop, elsewhere]}]
    ports: [{port: http}, {port: metrics}]
";
    let shop = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
";
    let analysis = of(&[("policy.yaml", policy), ("shop.yaml", shop), ("namespace.yaml", NAMESPACE)]);
    assert_eq!(
        lines(&analysis),
        ["policy.yaml:8 warning UnresolvedReference AccessPolicy/shop/web spec.ingress[0]"; 2]
    );
    let is_told = |named: &str| {
        let mut all = analysis.findings.iter().map(|finding| &finding.message);
        all.any(|message| message.contains(named) && message.ends_with("looked for in the given files only"))
    };
    assert!(is_told("namespace `elsewhere`") && is_told("port named `metrics`"), "{:#?}", analysis.findings);
    assert!(!is_told("port named `http`"));
}

#[test]
fn an_address_range_behind_a_node_port_is_warned_of() {
    let policy = "apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, ingress: [{name: office, from: [{cidrs: [203.0.113.0/24]}]}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {containers: []}}
";
    let service = |more: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop}}, spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80}}]{more}}}}}"
        )
    };
    let warned = of(&[("p.yaml", policy), ("s.yaml", &service("")), ("namespace.yaml", NAMESPACE)]);
    assert_eq!(
        lines(&warned),
        ["p.yaml:4 warning SNATHidesClient AccessPolicy/shop/web spec.ingress[0].from"]
    );
    let local = service(", externalTrafficPolicy: Local");
    assert!(of(&[("p.yaml", policy), ("s.yaml", &local), ("namespace.yaml", NAMESPACE)]).findings.is_empty());
}

#[test]
fn what_is_no_manifest_is_told_with_its_line() {
    let text = "a: 1\n---\nkind: [\n---\napiVersion: mesh.internal/v1\nkind: AccessPolicy\nmetadata: {name: a}\n---\n{apiVersion: example.com/v1, kind: Thing, metadata: {name: b}}\n---\n{apiVersion: v1, kind: Servise, metadata: {name: c}}\n";
    let analysis = of(&[("x.yaml", text), ("y.yaml", NAMESPACE), ("z.yaml", NAMESPACE)]);
    let found = lines(&analysis);
    let has = |start: &str| {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start} is not in {found:#?}")
    };
    has("x.yaml:1 error NotAnObject");
    has("x.yaml:3 error Unparsable");
    has("x.yaml:5 error UnknownVersion AccessPolicy/a");
    has("x.yaml:9 note ForeignKind Thing/b");
    has("x.yaml:11 error UnknownKind Servise/c");
    has("y.yaml:1 error SameNameTwice Namespace/shop");
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(analysis.is_partial());
}

#[test]
fn the_documentation_s_examples_have_no_errors() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    for (path, text) in crate::source::given::directory(&examples).unwrap() {
        // Each stands for itself: several show a MeshConfig.
        let analysis = of(&[(&path, &text.unwrap())]);
        assert_eq!(analysis.count(Level::Error), 0, "{:#?}", analysis.findings);
    }
}

#[test]
fn sarif_has_the_shape_that_its_schema_asks_for() {
    let policy =
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\nspec: {ingress: []}\n";
    let log = sarif(&of(&[("a.yaml", policy), ("b.yaml", "b: [\n")]));
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), RULES.len());
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with(".yaml"));
    }
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert_eq!(
        results[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
        "AccessPolicy/default/a: spec"
    );
}

#[test]
fn routes_are_judged_field_by_field() {
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs:
  - {group: '', kind: Service, name: web, port: 80}
  rules:
  - matches:
    - path: {value: no-slash}
  - backendRefs:
    - name: gone
      port: 80
  - retries: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: lost, namespace: shop}
spec:
  parentRefs:
  - {group: '', kind: Service, name: nowhere}
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: shop}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: b, namespace: shop}}
";
    let analysis = of(&[("route.yaml", route)]);
    assert_eq!(
        lines(&analysis),
        [
            "route.yaml:2 warning UnresolvedReference HTTPRoute/shop/web -",
            "route.yaml:10 error Invalid HTTPRoute/shop/web spec.rules[0].matches[0].path.value",
            "route.yaml:14 error UnknownField HTTPRoute/shop/web spec.rules[2].retries",
            "route.yaml:16 warning NoMatchingParent TCPRoute/shop/lost -",
            "route.yaml:28 error KindNotBuilt BackendTLSPolicy/shop/b kind",
        ]
    );
}
