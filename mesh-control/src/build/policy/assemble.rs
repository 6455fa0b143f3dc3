//! The rules of one pod, in the order in which the first match decides (SEMANTICS 5.1).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::{
    crd::{Action, Mode, Mtls, Protocol},
    resources::{self, DirectionPolicy, PortRange, Rule, Tier},
};

use super::{
    super::{pod::PodView, service::ServiceView, settings::NamespaceSettings},
    dns::DnsRule,
    order::at_equal_priority,
    peers::range,
    read::Rank,
    resolve::{Form, Policy, Ports, Resolved, Selected, is_access, numbers_on},
};
use crate::objects::{ObjectName, ObjectRef};

/// Everything that the rules of a pod depend on. Pods of equal class have equal rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct Class {
    settings: NamespaceSettings,
    named_ports: BTreeMap<(Protocol, String), u16>,
    /// The policies that select it, by index.
    selected: Vec<(usize, Selected)>,
}

/// The rules of both directions.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Directions {
    pub(in super::super) ingress: DirectionPolicy,
    pub(in super::super) egress: DirectionPolicy,
    /// The policies that shaped them.
    pub(in super::super) origins: Arc<[ObjectRef]>,
}

impl Class {
    /// The class of a pod among `policies`.
    pub(in super::super) fn of(
        pod: &PodView,
        settings: NamespaceSettings,
        policies: &[Arc<Policy>],
        services: &BTreeMap<ObjectName, Arc<ServiceView>>,
    ) -> Self {
        let selected = policies.iter().enumerate().filter(|(_, policy)| policy.draft.mode != Mode::Off);
        let selected = selected.filter(|(_, policy)| {
            policy.draft.namespace().is_none_or(|namespace| namespace == pod.name.namespace)
        });
        let selected = selected.filter_map(|(index, policy)| Some((index, policy.selects(pod, services)?)));
        Self { settings, named_ports: pod.named_ports.clone(), selected: selected.collect() }
    }

    /// The policies that select it, by index.
    pub(super) fn selected(&self) -> impl Iterator<Item = usize> {
        self.selected.iter().map(|(index, _)| *index)
    }
}

/// The rules of a class.
pub(in super::super) fn directions(class: &Class, policies: &[Arc<Policy>], dns: &DnsRule) -> Directions {
    let selected: Vec<(&Policy, &Selected)> = class
        .selected
        .iter()
        .filter_map(|(index, selected)| Some((policies.get(*index)?.as_ref(), selected)))
        .collect();
    let direction = |egress| Assembly { class, selected: &selected, egress }.direction(dns);
    Directions {
        ingress: direction(false),
        egress: direction(true),
        origins: selected.iter().map(|(policy, _)| policy.draft.reference.clone()).collect(),
    }
}

/// The rules of one direction as they would be of some of the policies that select a class.
pub(super) fn direction_of(
    class: &Class,
    policies: &[Arc<Policy>],
    dns: &DnsRule,
    egress: bool,
    counts: impl Fn(usize) -> bool,
) -> DirectionPolicy {
    Assembly { class, selected: &some_of(class, policies, counts), egress }.direction(dns)
}

/// Whether some of the policies that select a class isolate it, and whether they do with Audit policies
/// counted in.
pub(super) fn isolation_of(
    class: &Class,
    policies: &[Arc<Policy>],
    egress: bool,
    counts: impl Fn(usize) -> bool,
) -> (bool, bool) {
    Assembly { class, selected: &some_of(class, policies, counts), egress }.isolation()
}

fn some_of<'a>(
    class: &'a Class,
    policies: &'a [Arc<Policy>],
    counts: impl Fn(usize) -> bool,
) -> Vec<(&'a Policy, &'a Selected)> {
    let selected = class.selected.iter().filter(|(index, _)| counts(*index));
    selected.filter_map(|(index, selected)| Some((policies.get(*index)?.as_ref(), selected))).collect()
}

struct Assembly<'a> {
    class: &'a Class,
    selected: &'a [(&'a Policy, &'a Selected)],
    egress: bool,
}

impl Assembly<'_> {
    fn isolation(&self) -> (bool, bool) {
        let isolates = |policy: &Policy, selected: &Selected, modes: &[Mode]| {
            let whole = self.egress || *selected == Selected::Whole;
            is_access(policy)
                && whole
                && self.rules_of(policy).is_some()
                && modes.contains(&policy.draft.mode)
        };
        let isolated_by =
            |modes: &[Mode]| self.selected.iter().any(|(policy, selected)| isolates(policy, selected, modes));
        (isolated_by(&[Mode::Enforce]), isolated_by(&[Mode::Enforce, Mode::Audit]))
    }

    fn direction(&self, dns: &DnsRule) -> DirectionPolicy {
        let (isolated, isolated_audit) = self.isolation();
        let settings = self.class.settings;
        let default_deny = if self.egress { settings.deny_egress } else { settings.deny_ingress };

        let mut rules = self.ranked(Tier::Admin);
        let access: Vec<Rule> = self.of_rank(|rank| rank == Rank::Access).into_iter().flatten().collect();
        let (denials, allowances): (Vec<_>, Vec<_>) =
            access.into_iter().partition(|rule| rule.action() == resources::Action::Deny);
        let baseline = self.ranked(Tier::Baseline);
        rules.extend(denials);
        let restricted = isolated_audit || default_deny || !baseline.is_empty();
        if self.egress && settings.allow_dns && restricted {
            rules.extend(dns.iter().cloned());
        }
        rules.extend(allowances);
        rules.extend(self.isolated_ports());
        rules.extend(baseline);
        DirectionPolicy {
            rules,
            isolated,
            isolated_audit,
            default_deny,
            require_mtls: !self.egress && settings.require_mtls,
        }
    }

    fn rules_of<'p>(&self, policy: &'p Policy) -> Option<&'p Vec<Resolved>> {
        if self.egress { policy.egress.as_ref() } else { policy.ingress.as_ref() }
    }

    /// The rules of a tier of priorities.
    fn ranked(&self, tier: Tier) -> Vec<Rule> {
        let ranks: BTreeSet<Rank> = self.selected.iter().map(|(policy, _)| policy.draft.rank).collect();
        let ranks = ranks.into_iter().filter(|rank| tier_of(*rank) == tier);
        ranks.flat_map(|rank| at_equal_priority(self.of_rank(|other| other == rank))).collect()
    }

    /// The rules of every policy of a rank, each policy's in its own order.
    fn of_rank(&self, wanted: impl Fn(Rank) -> bool) -> Vec<Vec<Rule>> {
        let of_rank = self.selected.iter().filter(|(policy, _)| wanted(policy.draft.rank));
        of_rank
            .map(|(policy, selected)| {
                let resolved = self.rules_of(policy).into_iter().flatten();
                resolved.flat_map(|rule| self.rules(policy, selected, rule)).collect()
            })
            .collect()
    }

    fn rules(&self, policy: &Policy, selected: &Selected, rule: &Resolved) -> Vec<Rule> {
        let make = |form: &Form| {
            Some(Rule {
                tier: tier_of(policy.draft.rank).into(),
                action: action(rule.action).into(),
                audit: policy.draft.mode == Mode::Audit,
                policy: policy.draft.display(),
                rule: rule.name.clone(),
                peers: form.peers.clone(),
                ports: self.ports(form, selected)?,
                mtls: mtls(rule.mtls).into(),
                http: rule.requests.http.clone(),
                grpc: rule.requests.grpc.clone(),
            })
        };
        rule.forms.iter().filter_map(make).collect()
    }

    /// The ports on this pod; empty is every port, nothing is none.
    fn ports(&self, form: &Form, selected: &Selected) -> Option<Vec<PortRange>> {
        let ports = match &form.ports {
            Ports::Any => Vec::new(),
            Ports::Fixed(ports) => some(ports.clone())?,
            Ports::OfPod(ports) => {
                let named = |protocol, name: &str| {
                    self.class.named_ports.get(&(protocol, name.to_owned())).copied().into_iter().collect()
                };
                let numbers = numbers_on(ports, named).into_iter();
                some(numbers.map(|(protocol, first, last)| range(protocol, first, last)).collect())?
            }
        };
        match selected {
            Selected::Ports(targets) if !self.egress => some(within(&ports, targets)),
            Selected::Ports(_) | Selected::Whole => Some(ports),
        }
    }

    /// A policy by `targetRefs` isolates its target ports and no other. Only what no access rule
    /// decided comes this far, so a Deny that opens the Baseline tier says just that.
    fn isolated_ports(&self) -> Vec<Rule> {
        let by_target = self.selected.iter().filter_map(|(policy, selected)| match selected {
            Selected::Ports(targets) if !self.egress && policy.ingress.is_some() && !targets.is_empty() => {
                Some((policy, targets))
            }
            Selected::Ports(_) | Selected::Whole => None,
        });
        by_target
            .map(|(policy, targets)| Rule {
                tier: Tier::Baseline.into(),
                action: resources::Action::Deny.into(),
                audit: policy.draft.mode == Mode::Audit,
                policy: policy.draft.display(),
                rule: "default".to_owned(),
                peers: Vec::new(),
                ports: targets.iter().map(|(protocol, port)| range(*protocol, *port, *port)).collect(),
                mtls: resources::Mtls::Preferred.into(),
                http: Vec::new(),
                grpc: Vec::new(),
            })
            .collect()
    }
}

fn some(ports: Vec<PortRange>) -> Option<Vec<PortRange>> {
    (!ports.is_empty()).then_some(ports)
}

/// The target ports that are within the ranges; all of them where there are no ranges.
fn within(ranges: &[PortRange], targets: &[(Protocol, u16)]) -> Vec<PortRange> {
    let targets = targets.iter().map(|(protocol, port)| range(*protocol, *port, *port));
    let contained = |target: &PortRange| {
        ranges.is_empty()
            || ranges.iter().any(|range| {
                range.protocol == target.protocol && (range.first..=range.last).contains(&target.first)
            })
    };
    targets.filter(contained).collect()
}

fn tier_of(rank: Rank) -> Tier {
    match rank {
        Rank::Admin(_) => Tier::Admin,
        Rank::Access => Tier::Access,
        Rank::Baseline(_) => Tier::Baseline,
    }
}

fn action(action: Action) -> resources::Action {
    match action {
        Action::Allow => resources::Action::Allow,
        Action::Deny => resources::Action::Deny,
        Action::Pass => resources::Action::Pass,
    }
}

fn mtls(mtls: Mtls) -> resources::Mtls {
    match mtls {
        Mtls::Preferred => resources::Mtls::Preferred,
        Mtls::Required => resources::Mtls::Required,
        Mtls::Off => resources::Mtls::Off,
    }
}
