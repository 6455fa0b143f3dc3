//! Whether a caller may make a request, and which policy and rule say so (SEMANTICS 5).
//!
//! A connection's caller, address and port do not change while it is open, so what rules say of them
//! is decided once: [`Connection`] keeps the rules whose L4 part matches, in the order of evaluation.
//! For each request these are walked:
//!
//! 1. the Admin tier: the first rule that matches decides, unless it passes;
//! 2. the Access tier: any Deny that matches, else any Allow;
//! 3. where an enforced AccessPolicy selects the pod: denied;
//! 4. the Baseline tier: the first rule that matches;
//! 5. the default of MeshConfig.
//!
//! A rule with `http` or `grpc` matches by request, one without matches every request. The walk is
//! made a second time with the policies in Audit mode counted in, to tell what they would deny.
//!
//! | module | |
//! |---|---|
//! | [`rule`] | rules, and which requests they are about |
//! | [`denial`] | what the caller of a request that is denied is told |

pub mod denial;
pub mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::request::Request;
use rule::{Action, Requests, Rule, Tier};

/// The rules of one pod and direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// In the order of evaluation: the tiers one after another, in Access every Deny before every
    /// Allow.
    pub rules: Vec<Rule>,
    /// An enforced AccessPolicy selects the pod, so what no rule of that tier allows is denied.
    pub isolated: bool,
    /// The same, Audit policies counted in.
    pub isolated_audit: bool,
    /// What nothing decided is denied.
    pub default_deny: bool,
    /// A floor from MeshConfig: unproven callers are denied whatever the rules say.
    pub require_mtls: bool,
    /// The policies that isolate the pod, for the text of a denial.
    pub isolated_by: Arc<str>,
}

/// How the row after the rules is named: the denial of what an isolated pod has no rule for.
pub const NO_RULE_ALLOWS: &str = "(no rule allows)";

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decider {
    /// A rule, by its index in [`Policy::rules`].
    Rule(usize),
    /// No rule of the policies that select the pod allows it.
    Isolation,
    /// MeshConfig's default.
    Default,
    /// MeshConfig's floor: the caller is not proven.
    Floor,
    /// The bytes are not HTTP, and only rules about requests could allow them (SEMANTICS 5.4).
    NotHttp,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be.
    pub allowed: bool,
    /// What decided.
    pub by: Decider,
    /// Whether the Audit policies, if enforced, would have denied what is allowed.
    pub audit_denies: bool,
    /// What would have decided with them.
    pub audit_by: Decider,
}

/// What the connection alone decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtConnect {
    /// Everything: no rule about requests is met before a rule that decides. A denial never waits
    /// (SEMANTICS 5.1).
    Decided(Verdict),
    /// It depends on each request.
    ByRequest,
}

/// A connection's caller, as the rules of a policy see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    policy: Arc<Policy>,
    /// The rules whose L4 part matches, in order.
    matching: Vec<usize>,
    proven: bool,
}

/// What a rule says of what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Matches,
    Not,
    /// It depends on the request, and none is there.
    Unknown,
}

/// How to take an unknown answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lean {
    /// As the one that leads to an Allow, if any does.
    Allow,
    /// As the one that leads to a Deny.
    Deny,
}

/// A walk: of what is in force, or with Audit policies counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walk {
    audit: bool,
    lean: Lean,
}

type Decision = (bool, Decider);

impl Connection {
    /// A connection to a pod with `policy`. `matches` says of a rule whether its `from`, `ports` and
    /// `mtls` match the caller; `proven` is SEMANTICS 2.1.
    #[must_use]
    pub fn new(policy: Arc<Policy>, proven: bool, matches: impl Fn(usize) -> bool) -> Self {
        let matching = (0..policy.rules.len()).filter(|&rule| matches(rule)).collect();
        Self { policy, matching, proven }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Policy and rule of those that match the caller and are about requests, in order.
    pub fn by_request(&self) -> impl Iterator<Item = (&str, &str)> {
        let rules = self.matching.iter().map(|&index| &self.policy.rules[index]);
        rules
            .filter(|rule| matches!(rule.requests, Requests::Some { .. }))
            .map(|rule| (rule.policy.as_ref(), rule.name.as_ref()))
    }

    /// What is decided without any request: where every request gets the same verdict.
    #[must_use]
    pub fn at_connect(&self) -> AtConnect {
        let settled = |audit| {
            let least = self.walk(Walk { audit, lean: Lean::Deny }, &without_request);
            let most = self.walk(Walk { audit, lean: Lean::Allow }, &without_request);
            // The walk that takes no rule about requests to match: what decided in it needs none.
            (least.0 == most.0).then_some(if least.0 { least } else { most })
        };
        match (settled(false), settled(true)) {
            // With a denial nothing is left for an audit to tell.
            (Some(decision @ (false, _)), audited) => {
                AtConnect::Decided(verdict(decision, audited.unwrap_or(decision)))
            }
            (Some(decision), Some(audited)) => AtConnect::Decided(verdict(decision, audited)),
            _ => AtConnect::ByRequest,
        }
    }

    /// The verdict on a request.
    #[must_use]
    pub fn request(&self, request: &Request<'_>) -> Verdict {
        let answer = |rule: &Rule| if rule.matches(request) { Answer::Matches } else { Answer::Not };
        let [decision, audited] =
            [false, true].map(|audit| self.walk(Walk { audit, lean: Lean::Deny }, &answer));
        verdict(decision, audited)
    }

    /// The verdict on bytes that are not HTTP. Rules about requests allow none of them; those that deny
    /// might have denied what the caller disguised, and so do (SEMANTICS 5.4).
    #[must_use]
    pub fn not_http(&self) -> Verdict {
        let [decision, audited] = [false, true].map(|audit| {
            let [least, most] =
                [Lean::Deny, Lean::Allow].map(|lean| self.walk(Walk { audit, lean }, &without_request));
            match (least.0, most.0) {
                (false, true) => (false, Decider::NotHttp),
                // Whatever it asked, it would be denied, by what needs no request.
                (false, false) => most,
                (true, _) => least,
            }
        });
        verdict(decision, audited)
    }

    /// Walks the tiers.
    fn walk(&self, walk: Walk, answer: &impl Fn(&Rule) -> Answer) -> Decision {
        if self.policy.require_mtls && !self.proven {
            return (false, Decider::Floor);
        }
        for (index, rule) in self.of_tier(Tier::Admin, walk) {
            match (answer(rule), rule.action) {
                (Answer::Matches, Action::Pass) => break,
                (Answer::Unknown, Action::Pass) => {
                    let passed = self.after_admin(walk, answer);
                    if passed.0 == (walk.lean == Lean::Allow) {
                        return passed;
                    }
                }
                (answer, action) if walk.takes(answer, action) => {
                    return (action == Action::Allow, Decider::Rule(index));
                }
                _ => {}
            }
        }
        self.after_admin(walk, answer)
    }

    fn after_admin(&self, walk: Walk, answer: &impl Fn(&Rule) -> Answer) -> Decision {
        let mut allowed = None;
        for (index, rule) in self.of_tier(Tier::Access, walk) {
            if walk.takes(answer(rule), rule.action) {
                match rule.action {
                    Action::Deny => return (false, Decider::Rule(index)),
                    Action::Allow | Action::Pass => allowed = allowed.or(Some(index)),
                }
            }
        }
        if let Some(index) = allowed {
            return (true, Decider::Rule(index));
        }
        if self.policy.isolated || (walk.audit && self.policy.isolated_audit) {
            return (false, Decider::Isolation);
        }
        for (index, rule) in self.of_tier(Tier::Baseline, walk) {
            if walk.takes(answer(rule), rule.action) {
                return (rule.action == Action::Allow, Decider::Rule(index));
            }
        }
        (!self.policy.default_deny, Decider::Default)
    }

    /// The rules of a tier that match the caller and count in a walk.
    fn of_tier(&self, tier: Tier, walk: Walk) -> impl Iterator<Item = (usize, &Rule)> {
        let rules = self.matching.iter().map(|&index| (index, &self.policy.rules[index]));
        rules.filter(move |(_, rule)| rule.tier == tier && (walk.audit || !rule.audit))
    }
}

impl Walk {
    /// Whether a rule of this answer and action is taken to match.
    fn takes(self, answer: Answer, action: Action) -> bool {
        match answer {
            Answer::Matches => true,
            Answer::Not => false,
            Answer::Unknown => (action == Action::Deny) == (self.lean == Lean::Deny),
        }
    }
}

/// What a rule says where there is no request.
const fn without_request(rule: &Rule) -> Answer {
    match rule.requests {
        Requests::All => Answer::Matches,
        Requests::None => Answer::Not,
        Requests::Some { .. } => Answer::Unknown,
    }
}

const fn verdict((allowed, by): Decision, (audited, audit_by): Decision) -> Verdict {
    Verdict { allowed, by, audit_denies: allowed && !audited, audit_by }
}

impl Policy {
    /// The policy and rule that decided, by name; `None` when no policy did.
    #[must_use]
    pub fn names(&self, by: Decider) -> Option<(&str, &str)> {
        match by {
            Decider::Rule(index) => {
                self.rules.get(index).map(|rule| (rule.policy.as_ref(), rule.name.as_ref()))
            }
            Decider::Isolation => Some((&self.isolated_by, NO_RULE_ALLOWS)),
            Decider::Default | Decider::Floor | Decider::NotHttp => None,
        }
    }
}
