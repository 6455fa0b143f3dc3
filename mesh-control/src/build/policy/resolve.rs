//! A policy with its selectors resolved against the objects around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::{
    GroupId,
    condition::{ACCEPTED, Condition, RESOLVED_REFS, UDP_UNPROVEN},
    crd::{Action, LabelSelector, Mode, Mtls, PortRef, PortRule, Protocol},
    resources::{Peer, PortRange},
};

use super::{
    super::{
        namespaces::Namespaces,
        pod::PodView,
        pods::{Group, Pods},
        service::ServiceView,
    },
    entry::{Matcher, PeerDraft},
    identities::proven_alone,
    peers::{self, range},
    read::{Draft, Rank, SubjectDraft},
    references::{check_port_names, check_references, check_targets},
    requests::Requests,
    rule::{RuleDraft, requires_proof_of_udp},
};
use crate::objects::{ObjectName, ObjectRef};

/// The objects around the policies.
pub(in super::super) struct World<'a> {
    pub(in super::super) pods: &'a Pods,
    pub(in super::super) namespaces: &'a Namespaces,
    pub(in super::super) services: &'a BTreeMap<ObjectName, Arc<ServiceView>>,
    pub(in super::super) service_accounts: &'a BTreeSet<ObjectName>,
    pub(in super::super) trust_domain: &'a str,
    /// Every port name that a pod gives a number.
    pub(in super::super) port_names: &'a BTreeSet<(Protocol, String, u16)>,
}

/// A resolved policy.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Policy {
    pub(super) draft: Arc<Draft>,
    /// The groups whose pods it selects; empty where it targets Services.
    subject: BTreeSet<GroupId>,
    /// Nothing = it says nothing of this direction.
    pub(super) ingress: Option<Vec<Resolved>>,
    pub(super) egress: Option<Vec<Resolved>>,
    /// What the objects around it say of it.
    pub(in super::super) conditions: Vec<Condition>,
}

/// A rule with its peers resolved. Its ports may wait for the pod that it is applied to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) action: Action,
    pub(super) mtls: Mtls,
    pub(super) requests: Requests,
    /// Any of them. None = the rule matches nothing.
    pub(super) forms: Vec<Form>,
}

/// Peers and ports that hold together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    /// Empty = anyone.
    pub(super) peers: Vec<Peer>,
    pub(super) ports: Ports,
}

/// The ports of a form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ports {
    /// Every port.
    Any,
    /// These.
    Fixed(Vec<PortRange>),
    /// Those of the pod that the rule is applied to.
    OfPod(Vec<PortRule>),
}

impl Policy {
    /// Whether, and on which ports of ingress, it selects a pod; no ports where it selects all.
    pub(super) fn selects(
        &self,
        pod: &PodView,
        services: &BTreeMap<ObjectName, Arc<ServiceView>>,
    ) -> Option<Selected> {
        match &self.draft.subject {
            SubjectDraft::Services(names) => {
                let mut ports = BTreeSet::new();
                let mut any = false;
                for targets in names.iter().filter_map(|name| services.get(name)?.target_ports(pod)) {
                    any = true;
                    ports.extend(targets);
                }
                any.then(|| Selected::Ports(ports.into_iter().collect()))
            }
            SubjectDraft::Own(_) | SubjectDraft::Cluster(..) => {
                self.subject.contains(&pod.group).then_some(Selected::Whole)
            }
        }
    }

    /// Whether two select a pod in common, as far as groups tell.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.subject.iter().any(|group| other.subject.contains(group))
    }

    /// The object it is.
    pub(in super::super) fn reference(&self) -> &ObjectRef {
        &self.draft.reference
    }

    /// The Services it targets, whose pods are its own.
    pub(in super::super) fn targets(&self) -> &[ObjectName] {
        match &self.draft.subject {
            SubjectDraft::Services(names) => names,
            SubjectDraft::Own(_) | SubjectDraft::Cluster(..) => &[],
        }
    }
}

/// How a policy selects a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Selected {
    /// All of it.
    Whole,
    /// Ingress on these ports, by `targetRefs`.
    Ports(Vec<(Protocol, u16)>),
}

/// Resolves a policy.
pub(in super::super) fn resolve(draft: &Arc<Draft>, world: &World<'_>) -> Policy {
    let subject = subject(draft, world);
    let mut dangling = Vec::new();
    check_targets(draft, world, &mut dangling);
    let mut resolved = [None, None];
    for ((egress, rules), slot) in draft.directions().into_iter().zip(&mut resolved) {
        *slot = rules.map(|rules| {
            rules
                .iter()
                .map(|rule| {
                    check_references(draft, rule, world, &mut dangling);
                    if !egress {
                        check_port_names(draft, rule, &subject, world, &mut dangling);
                    }
                    resolve_rule(draft, rule, egress, world)
                })
                .collect()
        });
    }
    let [ingress, egress] = resolved;
    let conditions = conditions(draft, dangling);
    Policy { draft: draft.clone(), subject, ingress, egress, conditions }
}

fn subject(draft: &Draft, world: &World<'_>) -> BTreeSet<GroupId> {
    let holds = |selector: &Option<LabelSelector>, labels: &BTreeMap<String, String>| {
        selector.as_ref().is_none_or(|selector| selector.matches(labels))
    };
    let selected = |group: &Group| match &draft.subject {
        SubjectDraft::Own(selector) => {
            Some(group.namespace.as_str()) == draft.namespace() && holds(selector, &group.labels)
        }
        SubjectDraft::Cluster(namespaces, pods) => {
            holds(namespaces, &world.namespaces.labels(&group.namespace)) && holds(pods, &group.labels)
        }
        SubjectDraft::Services(_) => false,
    };
    world.pods.groups().iter().filter(|(_, group)| selected(group)).map(|(id, _)| *id).collect()
}

fn resolve_rule(draft: &Draft, rule: &RuleDraft, egress: bool, world: &World<'_>) -> Resolved {
    let mut forms = Vec::new();
    let ports = rule.ports.as_deref();
    let named = ports.is_some_and(|ports| ports.iter().any(|port| matches!(port.port, PortRef::Name(_))));
    let anyone = [PeerDraft::Matching(Box::default())];
    let mut plain = Vec::new();
    for entry in rule.peers.as_deref().unwrap_or(&anyone) {
        match entry {
            PeerDraft::Services(names) => {
                for (peer, ports) in peers::services(names, ports, world) {
                    forms.push(Form { peers: vec![peer], ports: Ports::Fixed(ports) });
                }
            }
            // The destination's pods say what a name means, each group for itself.
            PeerDraft::Matching(matcher) if egress && named => {
                forms.extend(by_port_names(draft, matcher, ports.unwrap_or_default(), world));
            }
            PeerDraft::Matching(matcher) => {
                let groups = matcher.names_identities().then(|| {
                    let mut groups = groups(draft, matcher, world);
                    if !egress {
                        // On egress an address only selects: there are pods, and no proven names.
                        groups.extend(proven_alone(matcher, draft.namespace(), world));
                    }
                    groups
                });
                plain.push(peers::peer(groups, matcher.cidrs.as_ref()));
            }
        }
    }
    if !plain.is_empty() {
        let ports = match ports {
            None => Ports::Any,
            Some(ports) if named => Ports::OfPod(ports.to_vec()),
            Some(ports) => Ports::Fixed(numbered(ports)),
        };
        let peers = if rule.peers.is_some() { plain } else { Vec::new() };
        forms.push(Form { peers, ports });
    }
    Resolved {
        name: rule.name.clone(),
        action: rule.action,
        mtls: rule.mtls,
        requests: rule.requests.clone(),
        forms,
    }
}

/// One form for each set of numbers that the names come to.
fn by_port_names(draft: &Draft, matcher: &Matcher, ports: &[PortRule], world: &World<'_>) -> Vec<Form> {
    let mut by_ports: BTreeMap<Vec<(Protocol, u16, u16)>, Vec<u64>> = BTreeMap::new();
    for (id, group) in world.pods.groups() {
        if !matcher.names_identities() || matcher.matches(group, draft.namespace(), world) {
            let numbers = numbers_on(ports, |protocol, name| group.ports_named(protocol, name).collect());
            by_ports.entry(numbers).or_default().push(id.get());
        }
    }
    by_ports.remove(&Vec::new());
    let mut forms: Vec<_> = by_ports
        .into_iter()
        .map(|(ports, groups)| Form {
            peers: vec![peers::peer(Some(groups), matcher.cidrs.as_ref())],
            ports: Ports::Fixed(
                ports.into_iter().map(|(protocol, first, last)| range(protocol, first, last)).collect(),
            ),
        })
        .collect();
    let fixed = numbered(ports);
    if !matcher.names_identities() && !fixed.is_empty() {
        let peers = matcher.cidrs.iter().map(|cidrs| peers::peer(None, Some(cidrs))).collect();
        forms.push(Form { peers, ports: Ports::Fixed(fixed) });
    }
    forms
}

/// The ports that are numbers.
fn numbered(ports: &[PortRule]) -> Vec<PortRange> {
    let numbers = numbers_on(ports, |_, _| Vec::new());
    numbers.into_iter().map(|(protocol, first, last)| range(protocol, first, last)).collect()
}

/// The ports as ranges, names by way of `named`.
pub(super) fn numbers_on(
    ports: &[PortRule],
    named: impl Fn(Protocol, &str) -> Vec<u16>,
) -> Vec<(Protocol, u16, u16)> {
    let mut ranges = BTreeSet::new();
    for port in ports {
        match &port.port {
            PortRef::Number(first) => {
                ranges.insert((port.protocol, *first, port.end_port.unwrap_or(*first)));
            }
            PortRef::Name(name) => {
                ranges.extend(
                    named(port.protocol, name).into_iter().map(|number| (port.protocol, number, number)),
                );
            }
        }
    }
    ranges.into_iter().collect()
}

fn groups(draft: &Draft, matcher: &Matcher, world: &World<'_>) -> Vec<u64> {
    let matching =
        world.pods.groups().iter().filter(|(_, group)| matcher.matches(group, draft.namespace(), world));
    matching.map(|(id, _)| id.get()).collect()
}

fn conditions(draft: &Draft, dangling: Vec<String>) -> Vec<Condition> {
    let mut conditions = vec![super::super::conditions::accepted(&draft.problems, || match draft.mode {
        Mode::Enforce => "the policy is in force".to_owned(),
        Mode::Audit => "the policy is counted and logged, it refuses nothing (mode Audit)".to_owned(),
        Mode::Off => "the policy has no effect (mode Off)".to_owned(),
    })];
    debug_assert_eq!(conditions[0].kind, ACCEPTED);
    if !dangling.is_empty() {
        conditions.push(Condition::failed(RESOLVED_REFS, "ReferenceNotFound", dangling.join("; ")));
    }
    let unproven: Vec<_> =
        draft.ingress.iter().flatten().filter(|rule| requires_proof_of_udp(rule)).collect();
    if !unproven.is_empty() {
        let names: Vec<_> = unproven.iter().map(|rule| format!("`{}`", rule.name)).collect();
        let message = format!(
            "rule {}: mtls: Required on a UDP port admits pods of the same node only, because UDP has no mTLS yet",
            names.join(", ")
        );
        conditions.push(Condition::holds(UDP_UNPROVEN, "SameNodeOnly", message));
    }
    for condition in &mut conditions {
        condition.observed_generation = draft.generation;
    }
    conditions
}

/// Whether a policy is of the tier between Admin and Baseline.
pub(super) fn is_access(policy: &Policy) -> bool {
    policy.draft.rank == Rank::Access
}
