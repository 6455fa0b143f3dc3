//! The verdict straight from SEMANTICS 5, rule by rule; its form is that of the oracle of L4 in
//! `mesh-agent/src/relay/compile/tests`, with what a rule says of requests as one more condition.

use crate::access::rule::{Action, Requests, Rule, Tier};
use crate::access::{Decider, Policy, Verdict};
use crate::matching::{PathMatch, ValueMatch};

use super::random::{Asked, Case};

pub(super) fn decide(case: &Case, about: impl Fn(&Rule) -> bool) -> Verdict {
    let (allowed, by) = walk(case, &about, false);
    let (audit_allowed, audit_by) = walk(case, &about, true);
    Verdict { allowed, by, audit_denies: allowed && !audit_allowed, audit_by }
}

fn walk(case: &Case, about: &impl Fn(&Rule) -> bool, audit: bool) -> (bool, Decider) {
    let policy: &Policy = &case.policy;
    if policy.require_mtls && !case.proven {
        return (false, Decider::Floor);
    }
    let of_tier = |tier: Tier| {
        policy.rules.iter().enumerate().filter(move |(index, rule)| {
            rule.tier == tier && (audit || !rule.audit) && case.matching[*index] && about(rule)
        })
    };
    let decided = |(index, rule): (usize, &Rule)| (rule.action == Action::Allow, Decider::Rule(index));
    if let Some((index, rule)) = of_tier(Tier::Admin).next()
        && rule.action != Action::Pass
    {
        return decided((index, rule));
    }
    let denial = of_tier(Tier::Access).find(|(_, rule)| rule.action == Action::Deny);
    if let Some(found) = denial.or_else(|| of_tier(Tier::Access).next()) {
        return decided(found);
    }
    if policy.isolated || (audit && policy.isolated_audit) {
        return (false, Decider::Isolation);
    }
    match of_tier(Tier::Baseline).next() {
        Some(found) => decided(found),
        None => (!policy.default_deny, Decider::Default),
    }
}

/// Whether a rule is about a request: by plain comparison of texts.
pub(super) fn about(rule: &Rule, asked: &Asked) -> bool {
    let denies = rule.action == Action::Deny;
    let (http, grpc) = match &rule.requests {
        Requests::All => return true,
        Requests::None => return false,
        Requests::Some { http, grpc } => (http, grpc),
    };
    let literal = asked.path.replace("%2f", "%2F");
    let separated = literal.replace("%2F", "/");
    let cut = |path: &str| {
        let names = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
        names.collect::<Vec<_>>().join("/")
    };
    let readings = [cut(&literal), cut(&separated), literal, separated];
    let read = |matches: &dyn Fn(&str) -> bool| {
        if denies {
            readings.iter().any(|path| matches(path))
        } else {
            readings.iter().all(|path| matches(path))
        }
    };
    let on_path = |path: &PathMatch| match path {
        PathMatch::Exact(value) => read(&|path| path == value.as_str()),
        PathMatch::Prefix(value) => {
            read(&|path| format!("{path}/").starts_with(&format!("{}/", value.as_str())))
        }
        PathMatch::Regex(_) => unreachable!("none is generated"),
    };
    let has_tier = |value: &ValueMatch| match (value, asked.tiers.as_slice()) {
        (ValueMatch::Exact(value), tiers) if denies => tiers.contains(&value.as_str()),
        (ValueMatch::Exact(value), [tier]) => value == tier,
        (ValueMatch::Present, tiers) => !tiers.is_empty(),
        _ => false,
    };
    let by_http = http.iter().any(|rule| {
        (rule.methods.is_empty() || rule.methods.contains(&asked.method))
            && (rule.paths.is_empty() || rule.paths.iter().any(on_path))
            && rule.headers.iter().all(|header| has_tier(&header.value))
    });
    by_http
        || grpc.iter().any(|rule| {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "*".into());
            read(&|path| {
                let parts: Vec<&str> = path.split('/').collect();
                let wanted = [name(&rule.service), name(&rule.method)];
                parts.len() == 3
                    && wanted.iter().zip(&parts[1..]).all(|(wanted, part)| wanted == "*" || wanted == part)
            })
        })
}
