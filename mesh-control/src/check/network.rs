//! NetworkPolicies that let a connection of the applications pass and not the tunnel that carries it:
//! between nodes enrolled pods reach each other on TCP port 15008.
//!
//! What a policy closes altogether it is meant to close. Only a rule that opens ports without this one,
//! between pods that are both enrolled, and that no other rule makes up for, is told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_api::crd::LabelSelector;
use serde_json::json;

use super::enrolled::Enrolment;
use super::seen::{Seen, name_of};
use super::{Checked, Verdict};

/// Where the tunnel arrives.
const TUNNEL: i32 = 15008;
/// What is asked of servers that need no tunnel: the cluster's DNS.
const DNS: i32 = 53;

/// A rule of a policy, of either direction.
struct Rule<'a> {
    policy: &'a NetworkPolicy,
    direction: &'static str,
    index: usize,
    ports: &'a [NetworkPolicyPort],
    /// The enrolled pods it is of, and those at the other side, by number.
    own: BTreeSet<usize>,
    others: BTreeSet<usize>,
}

/// MESH-C015.
pub(super) fn policies(seen: &Seen) -> Checked {
    let policies = seen.network_policies.as_deref()?;
    let namespaces = seen.namespaces.as_deref()?;
    let pods: Vec<&Pod> = Enrolment::of(seen)?.pods().collect();
    let rules: Vec<Rule<'_>> = policies.iter().flat_map(|policy| rules(policy, &pods, namespaces)).collect();
    let mut verdict =
        Verdict::ok(format!("{} NetworkPolicies, none stands between enrolled pods", policies.len()));
    for rule in rules.iter().filter(|rule| rule.blocks() && !made_up_for(rule, &rules)) {
        let name = name_of(&rule.policy.metadata);
        verdict.fail(
            format!(
                "NetworkPolicy {name}, spec.{}[{}]: opens ports to enrolled pods, and not TCP {TUNNEL}, by which they are reached from other nodes",
                rule.direction, rule.index
            ),
            rule.patch(),
        );
    }
    Ok(verdict)
}

fn rules<'a>(policy: &'a NetworkPolicy, pods: &[&Pod], namespaces: &[Namespace]) -> Vec<Rule<'a>> {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let Some(spec) = &policy.spec else { return Vec::new() };
    let matching = |accept: &dyn Fn(&Pod) -> bool| -> BTreeSet<usize> {
        pods.iter().enumerate().filter(|(_, pod)| accept(pod)).map(|(number, _)| number).collect()
    };
    let own = matching(&|pod| {
        pod.metadata.namespace.as_deref() == Some(namespace) && selects(spec.pod_selector.as_ref(), pod)
    });
    let others = |peers: Option<&Vec<NetworkPolicyPeer>>| match peers.filter(|peers| !peers.is_empty()) {
        None => matching(&|_| true),
        Some(peers) => matching(&|pod| peers.iter().any(|peer| is_peer(peer, namespace, pod, namespaces))),
    };
    let ingress = spec.ingress.iter().flatten().enumerate().map(|(index, rule)| Rule {
        policy,
        direction: "ingress",
        index,
        ports: rule.ports.as_deref().unwrap_or_default(),
        own: own.clone(),
        others: others(rule.from.as_ref()),
    });
    let egress = spec.egress.iter().flatten().enumerate().map(|(index, rule)| Rule {
        policy,
        direction: "egress",
        index,
        ports: rule.ports.as_deref().unwrap_or_default(),
        own: own.clone(),
        others: others(rule.to.as_ref()),
    });
    // A direction without its type is not restricted by the policy, and has no rules then.
    ingress.chain(egress).collect()
}

fn selects(selector: Option<&meta::LabelSelector>, pod: &Pod) -> bool {
    is_selected(selector, pod.metadata.labels.as_ref())
}

fn is_selected(selector: Option<&meta::LabelSelector>, labels: Option<&super::seen::Labels>) -> bool {
    let Some(selector) = selector else { return true };
    // The same selector in our own type, which knows how to match.
    let ours = serde_json::to_value(selector).and_then(serde_json::from_value::<LabelSelector>);
    ours.is_ok_and(|selector| selector.matches(&labels.cloned().unwrap_or_default()))
}

fn is_peer(peer: &NetworkPolicyPeer, namespace: &str, pod: &Pod, namespaces: &[Namespace]) -> bool {
    if let Some(block) = &peer.ip_block {
        let within =
            |cidr: &str, address: IpAddr| cidr.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
        return addresses(pod).iter().any(|address| {
            within(&block.cidr, *address)
                && !block.except.iter().flatten().any(|except| within(except, *address))
        });
    }
    let of_pod = pod.metadata.namespace.as_deref().unwrap_or_default();
    let in_namespace = match &peer.namespace_selector {
        None => of_pod == namespace,
        Some(selector) => namespaces.iter().any(|one| {
            one.metadata.name.as_deref() == Some(of_pod)
                && is_selected(Some(selector), one.metadata.labels.as_ref())
        }),
    };
    in_namespace && selects(peer.pod_selector.as_ref(), pod)
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok());
    all.chain(status.pod_ip.iter().filter_map(|address| address.parse().ok())).collect()
}

fn is_tcp(port: &NetworkPolicyPort) -> bool {
    port.protocol.as_deref().unwrap_or("TCP") == "TCP"
}

impl Rule<'_> {
    fn lets_tunnel_pass(&self) -> bool {
        self.ports.is_empty()
            || self.ports.iter().filter(|port| is_tcp(port)).any(|port| match (&port.port, port.end_port) {
                (None, _) => true,
                (Some(IntOrString::Int(first)), Some(last)) => (*first..=last).contains(&TUNNEL),
                (Some(IntOrString::Int(only)), None) => *only == TUNNEL,
                (Some(IntOrString::String(_)), _) => false,
            })
    }

    /// Whether it opens TCP ports between enrolled pods, and not the tunnel's.
    fn blocks(&self) -> bool {
        let opens = |port: &NetworkPolicyPort| is_tcp(port) && port.port != Some(IntOrString::Int(DNS));
        let between = |own: &usize| self.others.iter().any(|other| other != own);
        !self.lets_tunnel_pass() && self.ports.iter().any(opens) && self.own.iter().any(between)
    }

    fn patch(&self) -> String {
        let (namespace, name) = (
            self.policy.metadata.namespace.as_deref().unwrap_or_default(),
            self.policy.metadata.name.as_deref().unwrap_or_default(),
        );
        let patch = json!([{
            "op": "add",
            "path": format!("/spec/{}/{}/ports/-", self.direction, self.index),
            "value": { "port": TUNNEL, "protocol": "TCP" },
        }]);
        format!("kubectl -n {namespace} patch networkpolicy {name} --type=json -p '{patch}'")
    }
}

/// Whether others let the tunnel pass wherever this one opens something.
fn made_up_for(rule: &Rule<'_>, all: &[Rule<'_>]) -> bool {
    let passing = || all.iter().filter(|other| other.direction == rule.direction && other.lets_tunnel_pass());
    rule.own.iter().all(|own| {
        rule.others
            .iter()
            .filter(|other| *other != own)
            .all(|other| passing().any(|by| by.own.contains(own) && by.others.contains(other)))
    })
}
