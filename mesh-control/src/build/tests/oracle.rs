//! Two ways to a verdict: by the rules that a node is sent, and naively from the YAML.
//!
//! They share nothing but the words: the naive one never sees a group, a form or an order of
//! rules, and goes through every policy for every question.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use mesh_api::{
    crd::{
        AccessPolicySpec, Action, ClusterAccessPolicySpec, Destination, LabelSelector, Mode, Mtls, PortRef,
        PortRule, Protocol, Source, Tier,
    },
    resources::{self, DirectionPolicy, Peer, PortRange},
};

/// A pod of the test's world.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TestPod {
    pub(super) namespace: &'static str,
    pub(super) account: &'static str,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) address: Ipv4Addr,
    /// The number of its port `http`.
    pub(super) http: u16,
    pub(super) group: u64,
    /// Whether it is a pod that is known at its address: else only its identity is proven.
    pub(super) known: bool,
}

/// One connection: from or to a known pod, or an address that is nobody's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) egress: bool,
    pub(super) subject: &'a TestPod,
    pub(super) peer: Option<&'a TestPod>,
    pub(super) address: Ipv4Addr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// Whether Audit policies count.
    pub(super) audit: bool,
}

/// A policy as it was written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Access(&'static str, AccessPolicySpec),
    Cluster(ClusterAccessPolicySpec),
}

/// By the rules that the node is sent: true = allowed.
pub(super) fn by_rules(policy: &DirectionPolicy, question: Question<'_>) -> bool {
    if policy.require_mtls && question.peer.is_none() && question.protocol == Protocol::Tcp {
        return false;
    }
    let mut passed = false;
    let isolated = if question.audit { policy.isolated_audit } else { policy.isolated };
    let mut rules = policy.rules.iter().filter(|rule| question.audit || !rule.audit).peekable();
    while let Some(rule) = rules.peek() {
        if rule.tier() == resources::Tier::Baseline {
            break;
        }
        if !(passed && rule.tier() == resources::Tier::Admin) && rule_matches(rule, question) {
            match rule.action() {
                resources::Action::Pass => passed = true,
                action => return action == resources::Action::Allow,
            }
        }
        rules.next();
    }
    if isolated {
        return false;
    }
    let decided = rules.find(|rule| rule_matches(rule, question));
    decided.map_or(!policy.default_deny, |rule| rule.action() == resources::Action::Allow)
}

fn rule_matches(rule: &resources::Rule, question: Question<'_>) -> bool {
    let deny = rule.action() == resources::Action::Deny;
    let proven = question.peer.is_some();
    let in_range = |range: &PortRange| {
        let protocol = if question.protocol == Protocol::Tcp { 1 } else { 2 };
        range.protocol == protocol && (range.first..=range.last).contains(&u32::from(question.port))
    };
    (rule.ports.is_empty() || rule.ports.iter().any(in_range))
        && (question.egress || rule.mtls() != resources::Mtls::Required || proven)
        && (rule.peers.is_empty() || rule.peers.iter().any(|peer| peer_matches(peer, deny, question)))
}

fn peer_matches(peer: &Peer, deny: bool, question: Question<'_>) -> bool {
    if peer.services {
        return peer.endpoints.iter().any(|endpoint| {
            endpoint.address == question.address.octets() && endpoint.port == u32::from(question.port)
        });
    }
    let groups = peer.groups.as_ref().is_none_or(|groups| match question.peer {
        Some(pod) => groups.ids.contains(&pod.group),
        None => deny && !question.egress,
    });
    let within = |cidr: &resources::Cidr| {
        <[u8; 4]>::try_from(cidr.address.as_slice()).is_ok_and(|octets| {
            let net = Ipv4Net::new(octets.into(), u8::try_from(cidr.prefix_length).unwrap()).unwrap();
            net.contains(&question.address)
        })
    };
    groups && (peer.cidrs.is_empty() || peer.cidrs.iter().any(within))
}

/// Naively from the YAML: true = allowed. Services are (namespace, app label) with port 80 that
/// leads to `http`; `pods` are all there are.
pub(super) fn naively(policies: &[Written], pods: &[TestPod], question: Question<'_>) -> bool {
    let counts = |mode: Mode| mode == Mode::Enforce || (mode == Mode::Audit && question.audit);
    let cluster = |tier: Tier| -> Option<Action> {
        let of_tier: Vec<_> = policies
            .iter()
            .filter_map(|policy| match policy {
                Written::Cluster(spec) if spec.tier == tier && counts(spec.mode) => Some(spec),
                _ => None,
            })
            .filter(|spec| cluster_selects(spec, question.subject))
            .collect();
        let mut priorities: Vec<u16> = of_tier.iter().map(|spec| spec.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        priorities.into_iter().find_map(|priority| {
            let at_priority = of_tier.iter().filter(|spec| spec.priority == priority);
            let verdicts: Vec<Action> = at_priority
                .filter_map(|spec| {
                    first_match(&rules(&spec.ingress, &spec.egress, question), None, pods, question)
                })
                .collect();
            [Action::Deny, Action::Pass, Action::Allow].into_iter().find(|action| verdicts.contains(action))
        })
    };
    match cluster(Tier::Admin) {
        Some(Action::Deny) => return false,
        Some(Action::Allow) => return true,
        Some(Action::Pass) | None => {}
    }
    let (mut allowed, mut denied, mut isolated) = (false, false, false);
    for policy in policies {
        let Written::Access(namespace, spec) = policy else { continue };
        if !counts(spec.mode) || *namespace != question.subject.namespace {
            continue;
        }
        let by_target = spec.target_refs.is_some();
        let selected = match (&spec.selector, &spec.target_refs) {
            (Some(selector), _) => selector.matches(&question.subject.labels),
            (None, targets) => targets
                .iter()
                .flatten()
                .any(|target| question.subject.labels.get("app") == Some(&target.name)),
        };
        let in_direction = if question.egress { spec.egress.is_some() } else { spec.ingress.is_some() };
        let target_port = question.protocol == Protocol::Tcp && question.port == question.subject.http;
        if !selected || !in_direction || (by_target && !question.egress && !target_port) {
            continue;
        }
        isolated = true;
        for rule in rules(&spec.ingress, &spec.egress, question) {
            if matches(&rule, Some(namespace), pods, question) {
                allowed |= rule.action == Action::Allow;
                denied |= rule.action == Action::Deny;
            }
        }
    }
    if denied || allowed || isolated {
        return allowed && !denied;
    }
    cluster(Tier::Baseline).is_none_or(|action| action == Action::Allow)
}

/// A rule of either direction.
struct NaiveRule {
    action: Action,
    peers: Option<Vec<Destination>>,
    ports: Option<Vec<PortRule>>,
    mtls: Mtls,
}

fn rules(
    ingress: &Option<Vec<mesh_api::crd::IngressRule>>,
    egress: &Option<Vec<mesh_api::crd::EgressRule>>,
    question: Question<'_>,
) -> Vec<NaiveRule> {
    if question.egress {
        let rules = egress.iter().flatten().cloned();
        rules
            .map(|rule| NaiveRule { action: rule.action, peers: rule.to, ports: rule.ports, mtls: rule.mtls })
            .collect()
    } else {
        let destination = |source: Source| Destination {
            service_accounts: source.service_accounts,
            namespaces: source.namespaces,
            namespace_selector: source.namespace_selector,
            spiffe: source.spiffe,
            pods: source.pods,
            cidrs: source.cidrs,
            ..Destination::default()
        };
        let rules = ingress.iter().flatten().cloned();
        rules
            .map(|rule| NaiveRule {
                action: rule.action,
                peers: rule.from.map(|from| from.into_iter().map(destination).collect()),
                ports: rule.ports,
                mtls: rule.mtls,
            })
            .collect()
    }
}

fn cluster_selects(spec: &ClusterAccessPolicySpec, pod: &TestPod) -> bool {
    let holds = |selector: &Option<LabelSelector>, labels: &BTreeMap<String, String>| {
        selector.as_ref().is_none_or(|selector| selector.matches(labels))
    };
    holds(&spec.subject.namespaces, &namespace_labels(pod.namespace))
        && holds(&spec.subject.pods, &pod.labels)
}

pub(super) fn namespace_labels(namespace: &str) -> BTreeMap<String, String> {
    let env = if namespace == "a" { "dev" } else { "prod" };
    BTreeMap::from([("env".to_owned(), env.to_owned())])
}

fn first_match(
    rules: &[NaiveRule],
    own: Option<&str>,
    pods: &[TestPod],
    question: Question<'_>,
) -> Option<Action> {
    rules.iter().find(|rule| matches(rule, own, pods, question)).map(|rule| rule.action)
}

fn matches(rule: &NaiveRule, own: Option<&str>, pods: &[TestPod], question: Question<'_>) -> bool {
    if !question.egress && rule.mtls == Mtls::Required && question.peer.is_none() {
        return false;
    }
    let deny = rule.action == Action::Deny;
    let anyone = [Destination::default()];
    rule.peers.as_deref().unwrap_or(&anyone).iter().any(|entry| match &entry.services {
        Some(services) => services.iter().any(|service| {
            let namespace = service.namespace.as_deref().or(own).unwrap();
            of_service(namespace, &service.name, pods, question) && service_port(rule, question)
        }),
        None => entry_matches(entry, own, deny, question) && port_matches(rule, question),
    })
}

fn of_service(namespace: &str, app: &str, pods: &[TestPod], question: Question<'_>) -> bool {
    question.protocol == Protocol::Tcp
        && pods.iter().any(|pod| {
            pod.namespace == namespace
                && pod.labels.get("app").is_some_and(|own| own == app)
                && pod.address == question.address
                && pod.http == question.port
        })
}

/// On Services a name is the container's or the Service's own, and its only port is `http`.
fn service_port(rule: &NaiveRule, question: Question<'_>) -> bool {
    rule.ports.as_ref().is_none_or(|ports| {
        ports.iter().filter(|port| port.protocol == Protocol::Tcp).any(|port| match &port.port {
            PortRef::Name(name) => name == "http",
            PortRef::Number(first) => (*first..=port.end_port.unwrap_or(*first)).contains(&question.port),
        })
    })
}

fn port_matches(rule: &NaiveRule, question: Question<'_>) -> bool {
    // A name is that of the pod that is connected to.
    let target = if question.egress { question.peer } else { Some(question.subject) };
    rule.ports.as_ref().is_none_or(|ports| {
        ports.iter().filter(|port| port.protocol == question.protocol).any(|port| match &port.port {
            PortRef::Name(name) => {
                name == "http"
                    && port.protocol == Protocol::Tcp
                    && target.is_some_and(|pod| pod.http == question.port)
            }
            PortRef::Number(first) => (*first..=port.end_port.unwrap_or(*first)).contains(&question.port),
        })
    })
}

fn entry_matches(entry: &Destination, own: Option<&str>, deny: bool, question: Question<'_>) -> bool {
    let identity = entry.service_accounts.is_some()
        || entry.namespaces.is_some()
        || entry.namespace_selector.is_some()
        || entry.spiffe.is_some()
        || entry.pods.is_some();
    let who = !identity
        || match question.peer {
            Some(pod) => identity_matches(entry, own, pod),
            None => deny && !question.egress,
        };
    let net = |cidr: &String| cidr.parse::<Ipv4Net>().is_ok_and(|net| net.contains(&question.address));
    who && entry.cidrs.as_ref().is_none_or(|cidrs| cidrs.iter().any(net))
}

fn identity_matches(entry: &Destination, own: Option<&str>, pod: &TestPod) -> bool {
    if !pod.known && (entry.pods.is_some() || entry.namespace_selector.is_some()) {
        return false;
    }
    let unplaced = entry.namespaces.is_none() && entry.namespace_selector.is_none();
    if unplaced
        && (entry.service_accounts.is_some() || entry.pods.is_some())
        && own.is_some_and(|own| own != pod.namespace)
    {
        return false;
    }
    let id = format!("spiffe://cluster.local/ns/{}/sa/{}", pod.namespace, pod.account);
    let glob = |pattern: &String| {
        let (a, b): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), id.split('/').collect());
        a.len() == b.len() && a.iter().zip(b).all(|(pattern, part)| *pattern == "*" || *pattern == part)
    };
    let any = |list: &Option<Vec<String>>, value: &str| {
        list.as_ref().is_none_or(|list| list.iter().any(|item| item == value))
    };
    any(&entry.service_accounts, pod.account)
        && any(&entry.namespaces, pod.namespace)
        && entry
            .namespace_selector
            .as_ref()
            .is_none_or(|selector| selector.matches(&namespace_labels(pod.namespace)))
        && entry.pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
        && entry.spiffe.as_ref().is_none_or(|patterns| patterns.iter().any(glob))
}
