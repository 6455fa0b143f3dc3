//! Policies and rules that never decide, because something before them always does.
//!
//! In one class of pods a rule is dead when one rule that is asked before it, and then decides or
//! passes it by, matches everything that it matches; or when it is of the Baseline tier and access
//! policies end the question before. A policy is [`SHADOWED`] when that is so of every rule of it in every
//! class that it selects, and nothing else comes of it there: taking it away changes no verdict, nor how a
//! connection goes. What is said is true of the pods, Services and policies that there are now.
//!
//! Not found are rules that several others cover only together, and policies that have no rules: of such
//! as only isolate pods, each may be meant for pods to come.
//!
//! [`SHADOWED`]: mesh_api::condition::SHADOWED

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::{
    condition::{Condition, SHADOWED},
    resources::{Action, DirectionPolicy, Rule, Tier},
};

use super::{
    assemble::{Class, Directions, direction_of, isolation_of},
    cover::{Shape, covers, is_total, shapes},
    dns::DnsRule,
    read::Rank,
    resolve::Policy,
};
use crate::objects::ObjectRef;

/// Of a class with more rules in a direction nothing is said: every rule is compared with every other.
const RULES: usize = 64;
/// A message names at most this many rules, and this many others for each.
const NAMED: usize = 5;

/// A rule: whether of egress, and its name.
type Key = (bool, String);

/// What a class says of one policy that selects it.
#[derive(Debug, Default)]
struct Shade {
    /// It could as well not be there.
    whole: bool,
    /// Its rules: what decides before each that is dead, nothing for one that is not.
    rules: BTreeMap<Key, Option<BTreeSet<String>>>,
}

/// What a class says of the policies that select it, by index.
#[derive(Debug, Default)]
pub(in super::super) struct Shades(BTreeMap<usize, Shade>);

/// Looks at one class.
pub(in super::super) fn shades(
    class: &Class,
    directions: &Directions,
    policies: &[Arc<Policy>],
    dns: &DnsRule,
) -> Shades {
    let (ingress, egress) = (shapes_of(&directions.ingress), shapes_of(&directions.egress));
    let mut shades = BTreeMap::new();
    for index in class.selected() {
        let Some(policy) = policies.get(index) else { continue };
        let look = Look { class, policies, dns, index, policy };
        let mut shade = Shade { whole: true, rules: BTreeMap::new() };
        look.at(&directions.ingress, ingress.as_deref(), false, &mut shade);
        look.at(&directions.egress, egress.as_deref(), true, &mut shade);
        shades.insert(index, shade);
    }
    Shades(shades)
}

/// The rules of a direction, unless they are too many.
fn shapes_of(direction: &DirectionPolicy) -> Option<Vec<Shape<'_>>> {
    if direction.rules.len() <= RULES { shapes(&direction.rules) } else { None }
}

struct Look<'a> {
    class: &'a Class,
    policies: &'a [Arc<Policy>],
    dns: &'a DnsRule,
    index: usize,
    policy: &'a Policy,
}

impl Look<'_> {
    fn at(&self, direction: &DirectionPolicy, shapes: Option<&[Shape<'_>]>, egress: bool, shade: &mut Shade) {
        let own = self.policy.draft.display();
        let rules = &direction.rules;
        let Some(shapes) = shapes else {
            shade.whole = false;
            let names = rules.iter().filter(|rule| rule.policy == own);
            shade.rules.extend(names.map(|rule| ((egress, rule.rule.clone()), None)));
            return;
        };
        let mut all_dead = true;
        for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.policy == own) {
            let foreign = decided_before(shapes, place, egress, |other| other.policy != own)
                .map(|by| named(&rules[by]))
                .or_else(|| self.ended_before(rule, egress));
            all_dead &= foreign.is_some();
            if self.policy.draft.rank == Rank::Access && rule.tier() == Tier::Baseline {
                // Made of its targets, nobody wrote it.
                continue;
            }
            let by = foreign.or_else(|| {
                let by = decided_before(shapes, place, egress, |other| other.rule != rule.rule)?;
                Some(named(&rules[by]))
            });
            let by = by.filter(|_| self.goes_alone(direction, rule, egress));
            let known =
                shade.rules.entry((egress, rule.rule.clone())).or_insert_with(|| Some(BTreeSet::new()));
            *known = known.take().zip(by).map(|(mut known, by)| {
                known.insert(by);
                known
            });
        }
        shade.whole &= all_dead && self.changes_nothing_else(direction, &own, egress);
    }

    /// Access policies other than this one end the question before the Baseline tier is asked.
    fn ended_before(&self, rule: &Rule, egress: bool) -> Option<String> {
        if rule.tier() != Tier::Baseline {
            return None;
        }
        let (isolated, audited) =
            isolation_of(self.class, self.policies, egress, |index| index != self.index);
        (isolated || (rule.audit && audited)).then(|| "the access policies that select the pods".to_owned())
    }

    /// Whether only this rule's matches go with it: not the order of others, nor the rule for DNS.
    fn goes_alone(&self, direction: &DirectionPolicy, rule: &Rule, egress: bool) -> bool {
        let rank = self.policy.draft.rank;
        let of_equal_rank = self
            .class
            .selected()
            .filter(|index| self.policies.get(*index).is_some_and(|other| other.draft.rank == rank));
        let in_order = rank == Rank::Access || of_equal_rank.count() < 2;
        let restricts = egress && rule.tier() == Tier::Baseline;
        in_order && (!restricts || direction.isolated_audit || direction.default_deny)
    }

    /// Whether without the policy everything is as it is but for its rules. What others do for it is done
    /// by such as come before it, so that no two do it for each other.
    fn changes_nothing_else(&self, direction: &DirectionPolicy, own: &str, egress: bool) -> bool {
        let isolation =
            |counts: &dyn Fn(usize) -> bool| isolation_of(self.class, self.policies, egress, counts);
        let now = (direction.isolated, direction.isolated_audit);
        let stays = isolation(&|index| index < self.index) == now
            || (isolation(&|index| index != self.index) == now && !self.isolates(egress));
        if self.policy.draft.rank == Rank::Access && stays {
            // Access policies have no order among them, and the rule for DNS goes by isolation.
            return true;
        }
        let without = direction_of(self.class, self.policies, self.dns, egress, |index| index != self.index);
        let others = direction.rules.iter().filter(|rule| rule.policy != own);
        others.eq(&without.rules) && (stays || is_moot(direction, own, egress))
    }

    /// Whether it says anything of a direction as an access policy.
    fn isolates(&self, egress: bool) -> bool {
        let rules = if egress { &self.policy.egress } else { &self.policy.ingress };
        self.policy.draft.rank == Rank::Access && rules.is_some()
    }
}

/// The first rule before the one at `place` that keeps it from ever deciding.
fn decided_before(
    rules: &[Shape<'_>],
    place: usize,
    egress: bool,
    counts: impl Fn(&Rule) -> bool,
) -> Option<usize> {
    let (shape, rule) = (&rules[place], rules[place].rule);
    let mut passes = false;
    for (index, Shape { rule: other, .. }) in rules[..place].iter().enumerate() {
        let pass = other.action() == Action::Pass;
        let same_tier = other.tier() == rule.tier();
        // A Pass skips what is left of the Admin tier, a decision before it included.
        let reaches = if pass { same_tier } else { same_tier || other.tier() != Tier::Admin || !passes };
        let is_asked = !other.audit || rule.audit;
        if reaches && is_asked && counts(other) && covers(&rules[index], shape, egress) {
            return Some(index);
        }
        passes |= pass;
    }
    None
}

/// Whether some rule of others decides everything before isolation is asked for.
fn is_moot(direction: &DirectionPolicy, own: &str, egress: bool) -> bool {
    let mut passes = false;
    for rule in direction.rules.iter().take_while(|rule| rule.tier() != Tier::Baseline) {
        let decides = rule.action() != Action::Pass && !rule.audit && rule.policy != own;
        if decides && is_total(rule, egress) && (rule.tier() != Tier::Admin || !passes) {
            return true;
        }
        passes |= rule.action() == Action::Pass;
    }
    false
}

fn named(rule: &Rule) -> String {
    format!("{} rule `{}`", rule.policy, rule.rule)
}

/// The conditions that come of what all classes say.
pub(in super::super) fn shadowed<'a>(
    policies: &[Arc<Policy>],
    classes: impl Iterator<Item = &'a Shades>,
) -> Vec<(ObjectRef, Condition)> {
    let mut all: BTreeMap<usize, Shade> = BTreeMap::new();
    for (index, shade) in classes.flat_map(|shades| &shades.0) {
        let known = all.entry(*index).or_insert_with(|| Shade { whole: true, rules: BTreeMap::new() });
        known.whole &= shade.whole;
        for (key, by) in &shade.rules {
            let known = known.rules.entry(key.clone()).or_insert_with(|| Some(BTreeSet::new()));
            *known = known.take().zip(by.as_ref()).map(|(mut known, by)| {
                known.extend(by.iter().cloned());
                known
            });
        }
    }
    all.iter()
        .filter_map(|(index, shade)| {
            let policy = policies.get(*index)?;
            let condition = condition(shade)?.at(policy.draft.generation);
            Some((policy.draft.reference.clone(), condition))
        })
        .collect()
}

fn condition(shade: &Shade) -> Option<Condition> {
    let dead: Vec<String> = shade
        .rules
        .iter()
        .filter_map(|((_, rule), by)| {
            let by: Vec<&str> = by.as_ref()?.iter().map(String::as_str).take(NAMED).collect();
            Some(format!("rule `{rule}`: {}", by.join(", ")))
        })
        .collect();
    let mut told = dead.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = dead.len().checked_sub(NAMED) {
        told = format!("{told}; and {more} more");
    }
    if shade.whole && !shade.rules.is_empty() {
        let message = if told.is_empty() { String::new() } else { format!(" ({told})") };
        let message = format!(
            "on every pod that it selects others decide before every rule of it{message}; without it nothing would change now"
        );
        return Some(Condition::holds(SHADOWED, "NeverDecides", message));
    }
    (!dead.is_empty()).then(|| {
        let message = format!("rules that never decide, and what decides before them: {told}");
        Condition::holds(SHADOWED, "RulesNeverDecide", message)
    })
}
