//! `Shadowed` is never said of what decides anything, and is said of the plain cases.

use std::{collections::BTreeMap, net::Ipv4Addr};

use mesh_api::{
    condition::SHADOWED,
    crd::Protocol,
    resources::{DirectionPolicy, PodPolicy},
};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

use super::{
    Mesh,
    oracle::{Question, TestPod, Written, by_rules, naively},
    verdicts::{access, cluster, document, pods, proven_alone, world},
};

/// Policies as they were written: kind, namespace and spec, by name.
type Policies = BTreeMap<usize, (&'static str, &'static str, Value)>;

fn mesh(policies: &Policies) -> Mesh {
    let documents =
        policies.iter().map(|(index, (kind, namespace, spec))| document(kind, namespace, *index, spec));
    Mesh::of(&(world() + &documents.collect::<String>()))
}

fn name(index: usize, (kind, namespace, _): &(&str, &str, Value)) -> String {
    if namespace.is_empty() {
        format!("{kind}/x{index:02}")
    } else {
        format!("{kind}/{namespace}/x{index:02}")
    }
}

/// Reason and message of the condition, if a policy has it.
fn shadowed(mesh: &Mesh, index: usize, policy: &(&str, &str, Value)) -> Option<(String, String)> {
    let condition = mesh.condition(&name(index, policy), SHADOWED)?;
    Some((condition.reason.clone(), condition.message.clone()))
}

/// The answer to every question of the world: by what nodes are sent, and naively from the YAML.
fn verdicts(mesh: &Mesh, policies: &Policies) -> (Vec<bool>, Vec<bool>) {
    let written: Vec<Written> = policies
        .values()
        .map(|(kind, namespace, spec)| match *kind {
            "AccessPolicy" => Written::Access(namespace, serde_json::from_value(spec.clone()).unwrap()),
            _ => Written::Cluster(serde_json::from_value(spec.clone()).unwrap()),
        })
        .collect();
    let (pods, proven) = (pods(), proven_alone());
    let (mut sent, mut meant) = (Vec::new(), Vec::new());
    for (index, subject) in pods.iter().enumerate() {
        let policy: PodPolicy = mesh.policy("n1", &format!("{}/p{index}/u", subject.namespace)).unwrap();
        let [ingress, egress] = [policy.ingress.unwrap(), policy.egress.unwrap()];
        each_question(subject, &pods, &proven, |question| {
            let direction: &DirectionPolicy = if question.egress { &egress } else { &ingress };
            sent.push(by_rules(direction, question));
            meant.push(naively(&written, &pods, question));
        });
    }
    (sent, meant)
}

fn each_question<'a>(
    subject: &'a TestPod,
    pods: &'a [TestPod],
    proven: &'a [TestPod],
    mut ask: impl FnMut(Question<'a>),
) {
    let nobody = [(None, Ipv4Addr::new(192, 0, 2, 7)), (None, Ipv4Addr::new(10, 0, 1, 4))];
    let peers = pods.iter().chain(proven).map(|pod| (Some(pod), pod.address)).chain(nobody);
    for (peer, address) in peers {
        for (protocol, port) in
            [(Protocol::Tcp, 8080), (Protocol::Tcp, 9090), (Protocol::Tcp, 8500), (Protocol::Udp, 53)]
        {
            for (egress, audit) in [(false, false), (false, true), (true, false), (true, true)] {
                if !egress || peer.is_none_or(|peer| peer.known) {
                    ask(Question { egress, subject, peer, address, protocol, port, audit });
                }
            }
        }
    }
}

fn policies() -> impl Strategy<Value = Policies> {
    let access = access().prop_map(|(namespace, spec)| ("AccessPolicy", namespace, spec));
    let cluster = cluster().prop_map(|spec| ("ClusterAccessPolicy", "", spec));
    vec(prop_oneof![access, cluster], 1..6).prop_map(|all| all.into_iter().enumerate().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever never decides can be taken away, alone or together with all that never decides.
    #[test]
    fn what_is_shadowed_can_be_taken_away(policies in policies()) {
        let whole = mesh(&policies);
        let conflicted =
            policies.iter().any(|(index, policy)| whole.condition(&name(*index, policy), "Conflicted").is_some());
        let (sent, meant) = verdicts(&whole, &policies);
        let mut none = policies.clone();
        for (index, policy) in &policies {
            let Some((reason, message)) = shadowed(&whole, *index, policy) else { continue };
            let mut fewer = policies.clone();
            if reason == "NeverDecides" {
                fewer.remove(index);
                none.remove(index);
            } else {
                prop_assert_eq!(reason.as_str(), "RulesNeverDecide");
                let (.., spec) = fewer.get_mut(index).unwrap();
                for direction in ["ingress", "egress"] {
                    let Some(rules) = spec.get_mut(direction).and_then(Value::as_array_mut) else { continue };
                    let mut place = 0..;
                    rules.retain(|_| {
                        !message.contains(&format!("rule `{direction}[{}]`: ", place.next().unwrap()))
                    });
                }
            }
            prop_assert_ne!(&fewer, &policies, "something is named: {}", message);
            let (sent_then, meant_then) = verdicts(&mesh(&fewer), &fewer);
            prop_assert_eq!(&sent, &sent_then, "{}: {}", name(*index, policy), message);
            // At equal priorities that contradict each other the YAML alone does not say what holds.
            prop_assert!(conflicted || meant == meant_then, "{}: {message}", name(*index, policy));
        }
        let (sent_then, _) = verdicts(&mesh(&none), &none);
        prop_assert_eq!(&sent, &sent_then, "all that are shadowed at once");
    }
}

/// Reasons of the policies, in order; empty for none.
fn reasons(all: &[(&'static str, &str)]) -> Vec<String> {
    let policies: Policies = all
        .iter()
        .enumerate()
        .map(|(index, (kind, spec))| {
            let namespace = if *kind == "AccessPolicy" { "a" } else { "" };
            (index, (*kind, namespace, serde_yaml_ng::from_str(spec).unwrap()))
        })
        .collect();
    let mesh = mesh(&policies);
    let told = policies.iter().map(|(index, policy)| shadowed(&mesh, *index, policy));
    told.map(|told| told.map(|(reason, _)| reason).unwrap_or_default()).collect()
}

const ACCESS: &str = "AccessPolicy";
const CLUSTER: &str = "ClusterAccessPolicy";

#[test]
fn the_plain_cases_are_found() {
    for (what, policies, expected) in [
        (
            "an Admin Deny of everybody decides before an Allow",
            vec![
                (ACCESS, "{selector: {}, ingress: [{from: [{namespaces: [b]}]}]}"),
                (CLUSTER, "{tier: Admin, subject: {}, ingress: [{action: Deny}]}"),
            ],
            ["NeverDecides", ""],
        ),
        (
            "a lower priority number decides before a higher one",
            vec![
                (
                    CLUSTER,
                    "{tier: Admin, priority: 2, subject: {}, egress: [{action: Deny, ports: [{port: 8080}]}]}",
                ),
                (CLUSTER, "{tier: Admin, priority: 1, subject: {}, egress: [{action: Allow}]}"),
            ],
            ["NeverDecides", ""],
        ),
        (
            "of two that say the same the second by name",
            vec![
                (ACCESS, "{selector: {}, ingress: [{from: [{namespaces: [b]}]}]}"),
                (ACCESS, "{selector: {matchLabels: {app: x}}, ingress: [{from: [{namespaces: [a, b]}]}]}"),
            ],
            ["", ""],
        ),
        (
            "the same in its narrower form",
            vec![
                (ACCESS, "{selector: {}, ingress: [{from: [{namespaces: [a, b]}]}]}"),
                (
                    ACCESS,
                    "{selector: {matchLabels: {app: x}}, ingress: [{from: [{namespaces: [b]}], ports: [{port: http}]}]}",
                ),
            ],
            ["", "NeverDecides"],
        ),
        (
            "Baseline where an access policy isolates",
            vec![
                (ACCESS, "{selector: {}, ingress: []}"),
                (
                    CLUSTER,
                    "{tier: Baseline, subject: {namespaces: {matchLabels: {env: dev}}}, ingress: [{action: Allow}]}",
                ),
            ],
            ["", "NeverDecides"],
        ),
        (
            "a rule behind its own policy's wider one",
            vec![
                (
                    ACCESS,
                    "{selector: {}, ingress: [{ports: [{port: 8080}]}, {from: [{namespaces: [b]}], ports: [{port: 8080}]}]}",
                ),
                (ACCESS, "{selector: {}, egress: []}"),
            ],
            ["RulesNeverDecide", ""],
        ),
    ] {
        assert_eq!(reasons(&policies), expected, "{what}");
    }
}

#[test]
fn what_is_needed_is_not_called_shadowed() {
    for (what, policies) in [
        (
            "two that only isolate: each may be for pods to come",
            vec![(ACCESS, "{selector: {}, ingress: []}"), (ACCESS, "{selector: {}, ingress: []}")],
        ),
        (
            "an Audit policy before one that is enforced decides nothing",
            vec![
                (CLUSTER, "{tier: Admin, priority: 1, mode: Audit, subject: {}, ingress: [{action: Deny}]}"),
                (CLUSTER, "{tier: Admin, priority: 2, subject: {}, ingress: [{action: Deny}]}"),
            ],
        ),
        (
            "an Allow by identity leaves strangers to the Deny behind it",
            vec![
                (
                    CLUSTER,
                    "{tier: Admin, priority: 1, subject: {}, ingress: [{action: Allow, from: [{namespaces: [a]}]}]}",
                ),
                (
                    CLUSTER,
                    "{tier: Admin, priority: 2, subject: {}, ingress: [{action: Deny, from: [{namespaces: [a]}]}]}",
                ),
            ],
        ),
        (
            "a Pass before the decision leaves the rest to access policies",
            vec![
                (
                    CLUSTER,
                    "{tier: Admin, subject: {}, ingress: [{action: Pass, from: [{namespaces: [b]}]}, {action: Deny}]}",
                ),
                (ACCESS, "{selector: {}, ingress: [{from: [{namespaces: [b]}]}]}"),
            ],
        ),
        (
            "it is elsewhere that it decides",
            vec![
                (ACCESS, "{selector: {matchLabels: {app: x}}, ingress: [{}]}"),
                (ACCESS, "{selector: {}, ingress: [{from: [{namespaces: [b]}]}]}"),
            ],
        ),
    ] {
        assert_eq!(reasons(&policies), ["", ""], "{what}");
    }
}

#[test]
fn the_message_names_what_decides() {
    let mut policies = Policies::new();
    let spec = |text: &str| serde_yaml_ng::from_str(text).unwrap();
    policies
        .insert(0, (ACCESS, "a", spec("{selector: {}, ingress: [{name: mine, from: [{namespaces: [b]}]}]}")));
    policies
        .insert(1, (CLUSTER, "", spec("{tier: Admin, subject: {}, ingress: [{name: all, action: Deny}]}")));
    let (_, message) = shadowed(&mesh(&policies), 0, &policies[&0]).unwrap();
    assert_eq!(
        message,
        "on every pod that it selects others decide before every rule of it (rule `mine`: ClusterAccessPolicy/x01 rule `all`); without it nothing would change now"
    );
}
