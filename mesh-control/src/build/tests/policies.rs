//! What policies come to: failing closed, targets, DNS, conflicts, and what their status says.

use mesh_api::{
    condition::ConditionStatus,
    resources::{Action, PodPolicy, Rule, Tier},
};

use super::{Mesh, endpoints, pod};

const WEB: &str = "app: web, mesh.internal/mode: enabled";

fn access(name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {{name: {name}, namespace: shop, generation: 3}}
spec: {spec}
"
    )
}

fn cluster(name: &str, spec: &str) -> String {
    access(name, spec)
        .replace("kind: AccessPolicy", "kind: ClusterAccessPolicy")
        .replace(", namespace: shop", "")
}

fn with(policies: &str) -> (Mesh, PodPolicy) {
    let mesh = Mesh::of(&(pod("a", "n1", "10.0.0.1", WEB) + policies));
    let policy = mesh.policy("n1", "shop/a/u-a").unwrap();
    (mesh, policy)
}

/// (message of Accepted, ingress rules, isolated on ingress) of a policy with one ingress rule.
fn judged(rule: &str) -> (String, Vec<Rule>, bool) {
    let (mesh, policy) = with(&access("x", &format!("{{selector: {{}}, ingress: [{rule}]}}")));
    let condition = mesh.condition("AccessPolicy/shop/x", "Accepted").unwrap();
    assert_eq!(condition.observed_generation, 3);
    let ingress = policy.ingress.unwrap();
    let message = if condition.status == ConditionStatus::True {
        String::new()
    } else {
        format!("{}: {}", condition.reason, condition.message)
    };
    (message, ingress.rules, ingress.isolated)
}

#[test]
fn a_valid_rule_says_what_it_says() {
    let (message, rules, isolated) = judged(
        "{name: ops, from: [{pods: {}}], ports: [{port: http}, {port: 9000, endPort: 9010, protocol: UDP}], mtls: Required}",
    );
    assert_eq!((message.as_str(), isolated, rules.len()), ("", true, 1));
    let rule = &rules[0];
    assert_eq!((rule.policy.as_str(), rule.rule.as_str()), ("AccessPolicy/shop/x", "ops"));
    assert_eq!((rule.tier(), rule.action(), rule.audit), (Tier::Access, Action::Allow, false));
    let ports: Vec<_> = rule.ports.iter().map(|range| (range.protocol, range.first, range.last)).collect();
    assert_eq!(ports, [(1, 8080, 8080), (2, 9000, 9010)]);
    assert_eq!(rule.peers[0].groups.as_ref().unwrap().ids.len(), 1);
}

#[test]
fn an_invalid_allow_matches_nothing_and_still_isolates() {
    for (rule, field) in [
        ("{form: [{pods: {}}]}", "spec.ingress[0].form: unknown field"),
        ("{from: [{serviceAcounts: [a]}]}", "spec.ingress[0].from[0].serviceAcounts: unknown field"),
        ("{from: []}", "spec.ingress[0].from: must not be empty"),
        ("{from: }", "spec.ingress[0].from: has no value"),
        ("{from: [{}]}", "spec.ingress[0].from[0]: names nobody"),
        ("{from: [{namespaces: []}]}", "namespaces: must not be empty"),
        ("{from: [{cidrs: [10.0.0.1]}]}", "`10.0.0.1` is not a CIDR"),
        (
            "{from: [{spiffe: ['spiffe://cluster.local/ns/a*/sa/b']}]}",
            "`spiffe://cluster.local/ns/a*/sa/b` is not a SPIFFE pattern",
        ),
        ("{from: [{pods: {matchExpressions: [{key: a, operator: In}]}}]}", "operator In needs values"),
        ("{ports: [{port: 0}]}", "spec.ingress[0].ports[0].port"),
        ("{ports: [{port: http, endPort: 90}]}", "needs a number as port"),
        ("{ports: [{port: 90, endPort: 80}]}", "80 is below port 90"),
        ("{mtls: Off}", "spec.ingress[0].mtls: Off is for egress"),
        ("{action: Pass}", "spec.ingress[0].action: Pass is for the Admin tier"),
        ("{http: [{methods: [GET]}]}", "Invalid: spec.ingress[0].http: needs ports"),
        ("{http: [{method: GET}], ports: [{port: 80}]}", "spec.ingress[0].http[0].method: unknown field"),
        (
            "{http: [{paths: [{regex: '('}]}], ports: [{port: 80}]}",
            "spec.ingress[0].http[0].paths[0].regex: \"(\"",
        ),
        ("{http: [{hosts: }], ports: [{port: 80}]}", "spec.ingress[0].http[0].hosts: has no value"),
        ("{jwt: {issuer: x}}", "spec.ingress[0].jwt is not built yet"),
        ("{grpc: [], ports: [{port: 80}]}", "spec.ingress[0].grpc: must not be empty"),
        ("{limit: {}}", "spec.ingress[0].limit is not built yet"),
    ] {
        let (message, rules, isolated) = judged(rule);
        assert!(message.contains(field), "{rule}: {message}");
        assert!(message.contains("rule `ingress[0]` matches nothing"), "{rule}: {message}");
        assert!(rules.is_empty() && isolated, "{rule}");
    }
}

#[test]
fn an_invalid_deny_matches_everyone_on_its_ports() {
    let (_, rules, _) = judged("{action: Deny, from: [{cidrs: [x]}], ports: [{port: 22}]}");
    assert_eq!((rules.len(), rules[0].peers.len(), rules[0].ports[0].first), (1, 0, 22));
    let (message, rules, _) = judged("{name: no, action: Deny, from: [{cidrs: [x]}], ports: [{port: -1}]}");
    assert!(rules[0].peers.is_empty() && rules[0].ports.is_empty());
    assert!(message.contains("rule `no` denies everyone on its ports"), "{message}");
    // What cannot be read might have been a Deny.
    let (_, rules, _) = judged("{action: deny, from: [{pods: {}}]}");
    assert_eq!((rules[0].action(), rules[0].peers.len()), (Action::Deny, 0));
}

#[test]
fn requests_go_with_the_rule_and_an_invalid_deny_has_none() {
    let spec =
        "http: [{methods: [GET], paths: [{prefix: /api}]}], grpc: [{service: a.B}], ports: [{port: http}]";
    for action in ["Allow", "Deny"] {
        let (message, rules, isolated) = judged(&format!("{{name: r, action: {action}, {spec}}}"));
        assert_eq!((message.as_str(), isolated, rules.len()), ("", true, 1));
        assert_eq!(
            (rules[0].http[0].methods.as_slice(), rules[0].http[0].paths[0].value.as_str()),
            (&["GET".to_owned()][..], "/api")
        );
        assert_eq!(rules[0].grpc[0].service, "a.B");
        assert_eq!(rules[0].ports[0].first, 8080);
    }
    let (_, rules, _) = judged(&format!("{{action: Deny, {}}}", spec.replace("/api", "api")));
    assert!(rules[0].http.is_empty() && rules[0].grpc.is_empty() && rules[0].ports[0].first == 8080);
    let (mesh, policy) = with(&access(
        "x",
        "{selector: {}, egress: [{to: [{cidrs: [10.0.0.0/8]}], ports: [{port: 80}], http: [{methods: [GET]}]}]}",
    ));
    assert_eq!(mesh.condition("AccessPolicy/shop/x", "Accepted").unwrap().status, ConditionStatus::True);
    assert!(policy.egress.unwrap().rules.iter().any(|rule| !rule.http.is_empty()));
}

#[test]
fn a_field_that_is_not_understood_leaves_no_allowance() {
    let (mesh, policy) = with(&access(
        "x",
        "{selector: {}, only: x, ingress: [{from: [{pods: {}}]}, {action: Deny, ports: [{port: 22}]}]}",
    ));
    let ingress = policy.ingress.unwrap();
    assert!(ingress.isolated);
    assert_eq!(ingress.rules.iter().map(Rule::action).collect::<Vec<_>>(), [Action::Deny]);
    let condition = mesh.condition("AccessPolicy/shop/x", "Accepted").unwrap();
    assert_eq!(
        condition.message,
        "spec.only: unknown field; valid are selector, targetRefs, mode, ingress, egress"
    );
    let (_, policy) = with(&access("x", "{selector: {}, ingres: []}"));
    assert!(policy.ingress.unwrap().isolated && policy.egress.unwrap().isolated);
}

#[test]
fn a_subject_that_cannot_be_read_is_the_whole_namespace() {
    for subject in [
        "selector: {matchLabel: {app: db}}",
        "mode: Enforce",
        "selector: {}, targetRefs: [{kind: Service, name: x}]",
        "targetRefs: [{kind: Pod, name: a}]",
    ] {
        let (mesh, policy) = with(&access("x", &format!("{{{subject}, ingress: []}}")));
        assert!(policy.ingress.unwrap().isolated, "{subject}");
        assert_eq!(mesh.condition("AccessPolicy/shop/x", "Accepted").unwrap().status, ConditionStatus::False);
    }
    let (_, other) = with(&access("x", "{selector: {matchLabels: {app: db}}, ingress: []}"));
    assert!(!other.ingress.unwrap().isolated);
}

#[test]
fn audit_counts_and_off_does_nothing() {
    let (_, policy) = with(&access("x", "{selector: {}, mode: Audit, ingress: [{action: Deny}]}"));
    let ingress = policy.ingress.unwrap();
    assert!(!ingress.isolated && ingress.isolated_audit && ingress.rules[0].audit);
    let (_, policy) = with(&access("x", "{selector: {}, mode: Off, ingress: [{action: Deny}]}"));
    let ingress = policy.ingress.unwrap();
    assert!(!ingress.isolated_audit && ingress.rules.is_empty());
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: front, port: 80, targetPort: http}]}
";

#[test]
fn a_target_is_its_pods_on_their_target_ports() {
    let policy = access(
        "x",
        "{targetRefs: [{group: '', kind: Service, name: web}], ingress: [{from: [{pods: {}}]}, {ports: [{port: 9999}]}]}",
    );
    let (mesh, applied) = with(&(policy.clone() + SERVICE));
    let ingress = applied.ingress.unwrap();
    assert!(!ingress.isolated, "other ports stay as they are");
    let shown: Vec<_> =
        ingress.rules.iter().map(|rule| (rule.tier(), rule.action(), rule.ports[0].first)).collect();
    assert_eq!(shown, [(Tier::Access, Action::Allow, 8080), (Tier::Baseline, Action::Deny, 8080)]);
    assert!(mesh.condition("AccessPolicy/shop/x", "ResolvedRefs").is_none());

    let (mesh, applied) = with(&policy);
    assert!(applied.ingress.unwrap().rules.is_empty());
    let condition = mesh.condition("AccessPolicy/shop/x", "ResolvedRefs").unwrap();
    assert!(condition.message.contains("Service shop/web does not exist"), "{condition:?}");
}

#[test]
fn a_service_as_destination_is_its_addresses_and_endpoints() {
    let (_, policy) = with(
        &(access(
            "x",
            "{selector: {}, egress: [{to: [{services: [{name: web}]}], ports: [{port: http}], mtls: Off}]}",
        ) + SERVICE),
    );
    let egress = policy.egress.unwrap();
    let rule = egress.rules.iter().find(|rule| rule.policy != "MeshConfig/default").unwrap();
    assert_eq!(endpoints(&rule.peers[0].endpoints), ["10.0.0.1:8080", "10.96.0.1:80"]);
    assert!(rule.peers[0].services && rule.mtls == 2);
}

#[test]
fn dns_is_allowed_under_an_egress_policy_after_every_deny() {
    let dns = "---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
ports: [{name: dns, port: 1053, protocol: UDP}]
endpoints: [{addresses: [10.0.9.9]}]
";
    let (_, policy) = with(
        &(access("x", "{selector: {}, egress: [{to: [{pods: {}}]}, {action: Deny, ports: [{port: 25}]}]}")
            + dns),
    );
    let egress = policy.egress.unwrap();
    let shown: Vec<_> = egress.rules.iter().map(|rule| (rule.rule.as_str(), rule.action())).collect();
    assert_eq!(
        shown,
        [
            ("egress[1]", Action::Deny),
            ("allowDNS", Action::Allow),
            ("allowDNS", Action::Allow),
            ("egress[0]", Action::Allow)
        ]
    );
    assert_eq!(
        endpoints(&egress.rules[1].peers[0].endpoints),
        ["10.0.9.9:1053", "10.96.0.10:53", "169.254.20.10:53"]
    );
    assert_eq!(egress.rules[1].policy, "MeshConfig/default");
    let (_, free) = with(dns);
    assert!(free.egress.unwrap().rules.is_empty(), "nothing restricts egress");
    let off = "---\napiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\nspec: {defaults: {egress: {access: Deny, allowDNS: false}}}\n";
    let (_, closed) = with(&(off.to_owned() + dns));
    assert!(closed.egress.unwrap().rules.is_empty());
}

#[test]
fn equal_priorities_that_contradict_are_conflicted_on_both() {
    let allow = cluster("allow", "{tier: Admin, priority: 5, subject: {}, ingress: [{ports: [{port: 80}]}]}");
    let deny = |priority: u16, port: u16| {
        cluster(
            "deny",
            &format!(
                "{{tier: Admin, priority: {priority}, subject: {{}}, ingress: [{{action: Deny, ports: [{{port: {port}}}]}}]}}"
            ),
        )
    };
    let (mesh, policy) = with(&(allow.clone() + &deny(5, 80)));
    assert_eq!(policy.ingress.unwrap().rules[0].action(), Action::Deny);
    for (own, other) in [("allow", "deny"), ("deny", "allow")] {
        let condition = mesh.condition(&format!("ClusterAccessPolicy/{own}"), "Conflicted").unwrap();
        assert!(condition.message.contains(&format!("ClusterAccessPolicy/{other}")), "{condition:?}");
    }
    for other in [deny(6, 80), deny(5, 81)] {
        let (mesh, policy) = with(&(allow.clone() + &other));
        assert!(mesh.condition("ClusterAccessPolicy/allow", "Conflicted").is_none());
        assert_eq!(policy.ingress.unwrap().rules[0].action(), Action::Allow);
    }
}

#[test]
fn at_equal_priority_a_pass_goes_before_an_allow() {
    let pass = cluster("z", "{tier: Admin, priority: 1, subject: {}, ingress: [{name: pass, action: Pass}]}");
    let allow = cluster("a", "{tier: Admin, priority: 1, subject: {}, ingress: [{name: allow}]}");
    let (mesh, policy) = with(&(pass.clone() + &allow));
    let names = |policy: PodPolicy| {
        policy.ingress.unwrap().rules.into_iter().map(|rule| rule.rule).collect::<Vec<_>>()
    };
    assert_eq!(names(policy), ["pass", "allow"]);
    assert!(mesh.condition("ClusterAccessPolicy/a", "Conflicted").is_some());
    // No order satisfies both the list and the ranks: the strictest goes first.
    let circle = allow.replace("{name: allow}", "{name: allow}, {name: deny, action: Deny}");
    assert_eq!(names(with(&(pass + &circle)).1), ["deny", "pass", "allow"]);
}

#[test]
fn the_order_is_admin_by_priority_then_denials_allowances_baseline() {
    let (_, policy) = with(
        &(cluster("z", "{tier: Admin, priority: 1, subject: {}, ingress: [{name: first, action: Pass}]}")
            + &cluster("a", "{tier: Admin, priority: 2, subject: {}, ingress: [{name: second}]}")
            + &cluster("b", "{tier: Baseline, subject: {}, ingress: [{name: last, action: Deny}]}")
            + &access("x", "{selector: {}, ingress: [{name: allow}]}")
            + &access("y", "{selector: {}, ingress: [{name: deny, action: Deny}]}")),
    );
    let rules = policy.ingress.unwrap().rules;
    assert_eq!(
        rules.iter().map(|rule| rule.rule.as_str()).collect::<Vec<_>>(),
        ["first", "second", "deny", "allow", "last"]
    );
}

#[test]
fn an_invalid_cluster_policy_denies_first_and_everywhere() {
    let (mesh, policy) = with(&cluster(
        "x",
        "{tier: Admn, priority: 2000, subject: {pod: {}}, ingress: [{action: Deny, ports: [{port: 1}]}, {from: [{serviceAccounts: [a]}]}]}",
    ));
    let rules = policy.ingress.unwrap().rules;
    assert_eq!((rules.len(), rules[0].tier(), rules[0].action()), (1, Tier::Admin, Action::Deny));
    let message = &mesh.condition("ClusterAccessPolicy/x", "Accepted").unwrap().message;
    for part in [
        "spec.tier",
        "`Admn`",
        "spec.priority: 2000",
        "spec.subject.pod: unknown field",
        "has no namespace of its own",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn references_that_lead_nowhere_are_warned_of() {
    let (mesh, policy) = with(&access(
        "x",
        "{selector: {}, ingress: [{from: [{serviceAccounts: [ghost]}, {namespaces: [void]}, {spiffe: ['spiffe://other.org/ns/a/sa/b']}], ports: [{port: metrics}, {port: http}]}]}",
    ));
    let message = &mesh.condition("AccessPolicy/shop/x", "ResolvedRefs").unwrap().message;
    for part in
        ["service account `ghost`", "namespace `void`", "trust domain `other.org`", "port named `metrics`"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(mesh.condition("AccessPolicy/shop/x", "Accepted").unwrap().status, ConditionStatus::True);
    assert_eq!(policy.ingress.unwrap().rules[0].ports.len(), 1, "the port that is there is matched");
}

#[test]
fn proof_on_a_udp_port_is_said_to_be_weaker() {
    let (mesh, _) =
        with(&access("x", "{selector: {}, ingress: [{mtls: Required, ports: [{port: 53, protocol: UDP}]}]}"));
    assert!(mesh.condition("AccessPolicy/shop/x", "UDPUnproven").is_some());
    let (mesh, _) = with(&access("x", "{selector: {}, ingress: [{mtls: Required, ports: [{port: 53}]}]}"));
    assert!(mesh.condition("AccessPolicy/shop/x", "UDPUnproven").is_none());
}

#[test]
fn who_proves_an_identity_from_elsewhere_is_meant_by_name_and_not_by_label() {
    let groups = |from: &str| {
        let account =
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: teller, namespace: bank}\n";
        let rule = format!(
            "{{selector: {{}}, ingress: [{{name: x, from: [{from}]}}], egress: [{{name: x, to: [{from}]}}]}}"
        );
        let (_, policy) = with(&(access("x", &rule) + account));
        let ids = |rules: Vec<Rule>| {
            let rule = rules.into_iter().find(|rule| rule.rule == "x").unwrap();
            rule.peers[0].groups.clone().unwrap().ids
        };
        (ids(policy.ingress.unwrap().rules), ids(policy.egress.unwrap().rules))
    };
    let alone = |namespace, account| mesh_api::GroupId::of_identity(namespace, account).get();
    for (from, meant) in [
        ("{serviceAccounts: [x, y]}", vec![alone("shop", "x"), alone("shop", "y")]),
        ("{serviceAccounts: [teller], namespaces: [bank]}", vec![alone("bank", "teller")]),
        // Nobody has this one yet; whoever does will be meant.
        ("{spiffe: ['spiffe://cluster.local/ns/new/sa/s']}", vec![alone("new", "s")]),
        ("{namespaces: [bank]}", vec![alone("bank", "teller")]),
        ("{spiffe: ['spiffe://cluster.local/ns/bank/sa/*']}", vec![alone("bank", "teller")]),
        ("{spiffe: ['spiffe://other/ns/bank/sa/teller']}", vec![]),
        ("{namespaces: [bank], pods: {}}", vec![]),
        ("{namespaceSelector: {}, serviceAccounts: [teller]}", vec![]),
    ] {
        let (ingress, egress) = groups(from);
        let mut meant = meant;
        meant.sort_unstable();
        let mut sent = ingress.clone();
        sent.sort_unstable();
        assert_eq!(sent, meant, "{from}");
        assert!(egress.is_empty(), "{from}: on egress an address only selects");
    }
}
