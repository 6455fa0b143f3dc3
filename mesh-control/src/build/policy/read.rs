//! One policy object, judged on its own.

use std::collections::BTreeSet;

use mesh_api::crd::{DEFAULT_PRIORITY, LabelSelector, Mode, Subject, TargetRef, Tier};
use serde_json::Value;

use super::{
    super::fields::{Field, Fields, Problem, UNKNOWN_FIELD},
    entry::PeerDraft,
    rule::{Place, RuleDraft, read as read_rule},
};
use crate::objects::{Custom, ObjectName, ObjectRef};

/// What a policy says, with everything that is invalid in it already failed closed.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Draft {
    pub(in super::super) reference: ObjectRef,
    pub(in super::super) generation: i64,
    pub(super) rank: Rank,
    pub(super) subject: SubjectDraft,
    pub(super) mode: Mode,
    /// Nothing = it says nothing of this direction.
    pub(super) ingress: Option<Vec<RuleDraft>>,
    pub(super) egress: Option<Vec<RuleDraft>>,
    pub(in super::super) problems: Vec<Problem>,
}

/// Where a policy's rules stand in the order of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A `ClusterAccessPolicy` of the Admin tier, by priority.
    Admin(u16),
    /// An `AccessPolicy`.
    Access,
    /// A `ClusterAccessPolicy` of the Baseline tier, by priority.
    Baseline(u16),
}

/// The pods that a policy is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SubjectDraft {
    /// Pods of the policy's own namespace; nothing = all of them.
    Own(Option<LabelSelector>),
    /// The pods and target ports of these Services.
    Services(Vec<ObjectName>),
    /// Pods by namespace and by label; nothing = all.
    Cluster(Option<LabelSelector>, Option<LabelSelector>),
}

impl Draft {
    /// How rules of it name it: `AccessPolicy/<namespace>/<name>`.
    pub(super) fn display(&self) -> String {
        self.reference.to_string()
    }

    /// Whether it names one of these Services.
    pub(in super::super) fn names_any(&self, services: &BTreeSet<ObjectName>) -> bool {
        let targets = match &self.subject {
            SubjectDraft::Services(names) => names.as_slice(),
            SubjectDraft::Own(_) | SubjectDraft::Cluster(..) => &[],
        };
        let rules = self.egress.iter().flatten();
        let entries = rules.flat_map(|rule| rule.peers.iter().flatten()).filter_map(|entry| match entry {
            PeerDraft::Services(names) => Some(names),
            PeerDraft::Matching(_) => None,
        });
        targets.iter().chain(entries.flatten()).any(|name| services.contains(name))
    }

    /// The namespace of an `AccessPolicy`.
    pub(super) fn namespace(&self) -> Option<&str> {
        Some(self.reference.name.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }

    /// Both directions' rules, with whether they are egress.
    pub(super) fn directions(&self) -> [(bool, Option<&[RuleDraft]>); 2] {
        [(false, self.ingress.as_deref()), (true, self.egress.as_deref())]
    }
}

/// Reads an `AccessPolicy`.
pub(in super::super) fn read_access_policy(policy: &Custom) -> Draft {
    let mut problems = Vec::new();
    let mut spec = open(policy, &mut problems);
    let selector = spec.get::<LabelSelector>("selector", &mut problems);
    let targets = spec.get::<Vec<TargetRef>>("targetRefs", &mut problems);
    let subject = own_subject(policy, selector, targets, &mut problems);
    let place = Place { namespace: Some(&policy.name.namespace), egress: false, may_pass: false };
    let body = Body::read(&mut spec, place, &mut problems);
    body.finish(policy, "AccessPolicy", spec, Rank::Access, subject, problems)
}

/// Reads a `ClusterAccessPolicy`.
pub(in super::super) fn read_cluster_access_policy(policy: &Custom) -> Draft {
    let mut problems = Vec::new();
    let mut spec = open(policy, &mut problems);
    // Closed is the Admin tier at its first priority: an invalid policy only denies.
    let tier = match spec.get::<Tier>("tier", &mut problems) {
        Field::Valid(tier) => tier,
        Field::Invalid => Tier::Admin,
        Field::Absent => {
            problems.push(Problem::invalid("spec.tier", "is needed; write Admin or Baseline"));
            Tier::Admin
        }
    };
    let priority = match spec.get::<u16>("priority", &mut problems).or_closed(0) {
        None => DEFAULT_PRIORITY,
        Some(priority) if priority > DEFAULT_PRIORITY => {
            let what = format!("{priority} is above {DEFAULT_PRIORITY}; write 0 to {DEFAULT_PRIORITY}");
            problems.push(Problem::invalid("spec.priority", what));
            0
        }
        Some(priority) => priority,
    };
    let subject = match spec.get::<Subject>("subject", &mut problems) {
        Field::Valid(subject) => cluster_subject(subject, &mut problems),
        Field::Invalid => SubjectDraft::Cluster(None, None),
        Field::Absent => {
            problems.push(Problem::invalid("spec.subject", "is needed; write {} for every pod"));
            SubjectDraft::Cluster(None, None)
        }
    };
    let (rank, may_pass) = match tier {
        Tier::Admin => (Rank::Admin(priority), true),
        Tier::Baseline => (Rank::Baseline(priority), false),
    };
    let body = Body::read(&mut spec, Place { namespace: None, egress: false, may_pass }, &mut problems);
    body.finish(policy, "ClusterAccessPolicy", spec, rank, subject, problems)
}

fn open<'a>(policy: &'a Custom, problems: &mut Vec<Problem>) -> Fields<'a> {
    for field in &policy.unknown_fields {
        let message = format!("{field}: unknown field; valid are apiVersion, kind, metadata, spec, status");
        problems.push(Problem { reason: UNKNOWN_FIELD, message });
    }
    Fields::of(&policy.spec, "spec", problems)
}

/// A subject that cannot be read is every pod of the namespace: what the policy refuses is then
/// refused for too many rather than for too few.
fn own_subject(
    policy: &Custom,
    selector: Field<LabelSelector>,
    targets: Field<Vec<TargetRef>>,
    problems: &mut Vec<Problem>,
) -> SubjectDraft {
    match (selector, targets) {
        (Field::Valid(selector), Field::Absent) => {
            if let Some(fault) = selector.problem() {
                problems.push(Problem::invalid("spec.selector", fault));
                return SubjectDraft::Own(None);
            }
            SubjectDraft::Own(Some(selector))
        }
        (Field::Absent, Field::Valid(targets)) => {
            let mut services = Vec::new();
            for (index, target) in targets.iter().enumerate() {
                if target.kind == "Service" && target.group.is_empty() {
                    services.push(ObjectName::new(&policy.name.namespace, &target.name));
                } else {
                    let what = format!(
                        "{}/{} `{}`: only Service of group \"\" can be a target",
                        target.group, target.kind, target.name
                    );
                    problems.push(Problem::invalid(&format!("spec.targetRefs[{index}]"), what));
                    return SubjectDraft::Own(None);
                }
            }
            if services.is_empty() {
                problems.push(Problem::invalid("spec.targetRefs", "must not be empty"));
                return SubjectDraft::Own(None);
            }
            SubjectDraft::Services(services)
        }
        (Field::Invalid, _) | (_, Field::Invalid) => SubjectDraft::Own(None),
        (Field::Absent, Field::Absent) => {
            problems.push(Problem::invalid(
                "spec",
                "exactly one of selector and targetRefs is needed; it has none",
            ));
            SubjectDraft::Own(None)
        }
        (Field::Valid(_), Field::Valid(_)) => {
            problems.push(Problem::invalid(
                "spec",
                "exactly one of selector and targetRefs is needed; it has both",
            ));
            SubjectDraft::Own(None)
        }
    }
}

fn cluster_subject(subject: Subject, problems: &mut Vec<Problem>) -> SubjectDraft {
    let mut checked = |field: &str, selector: Option<LabelSelector>| {
        let fault = selector.as_ref().and_then(LabelSelector::problem)?;
        problems.push(Problem::invalid(&format!("spec.subject.{field}"), fault));
        Some(())
    };
    let namespaces_bad = checked("namespaces", subject.namespaces.clone()).is_some();
    let pods_bad = checked("pods", subject.pods.clone()).is_some();
    SubjectDraft::Cluster(subject.namespaces.filter(|_| !namespaces_bad), subject.pods.filter(|_| !pods_bad))
}

/// The part of a spec that both kinds share.
struct Body {
    mode: Mode,
    ingress: Option<Vec<RuleDraft>>,
    egress: Option<Vec<RuleDraft>>,
}

impl Body {
    fn read(spec: &mut Fields<'_>, place: Place<'_>, problems: &mut Vec<Problem>) -> Self {
        let mode = spec.get::<Mode>("mode", problems).or_closed(Mode::Enforce).unwrap_or_default();
        let ingress = rules(spec, "ingress", place, problems);
        let egress = rules(spec, "egress", Place { egress: true, ..place }, problems);
        Self { mode, ingress, egress }
    }

    fn finish(
        mut self,
        policy: &Custom,
        kind: &str,
        spec: Fields<'_>,
        rank: Rank,
        subject: SubjectDraft,
        mut problems: Vec<Problem>,
    ) -> Draft {
        let unclear = spec.finish(&mut problems) || !policy.unknown_fields.is_empty();
        if self.ingress.is_none() && self.egress.is_none() {
            problems.push(Problem::invalid("spec", "ingress or egress is needed; it has neither"));
            if unclear {
                // A misspelt direction may be either one.
                self.ingress = Some(Vec::new());
                self.egress = Some(Vec::new());
            }
        }
        if unclear {
            // A field that is not understood may have narrowed what is allowed, so nothing is.
            for rules in [&mut self.ingress, &mut self.egress].into_iter().flatten() {
                rules.retain(|rule| rule.action == mesh_api::crd::Action::Deny);
            }
        }
        Draft {
            reference: ObjectRef::mesh(kind, policy.name.clone()),
            generation: policy.generation,
            rank,
            subject,
            mode: self.mode,
            ingress: self.ingress,
            egress: self.egress,
            problems,
        }
    }
}

fn rules(
    spec: &mut Fields<'_>,
    field: &'static str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<RuleDraft>> {
    let path = spec.path(field);
    let entries = match spec.get::<Vec<Value>>(field, problems) {
        Field::Absent => return None,
        Field::Valid(entries) => entries,
        Field::Invalid => Vec::new(),
    };
    let rule = |(index, value): (usize, &Value)| {
        read_rule(value, &format!("{path}[{index}]"), index, place, problems)
    };
    Some(entries.iter().enumerate().filter_map(rule).collect())
}
