//! The order of rules at equal priority.
//!
//! Within one policy the list's order decides; between policies a Deny goes before a Pass or an
//! Allow (SEMANTICS 5.1), and a Pass, which leaves more to be refused, before an Allow. Each is a constraint on pairs of rules that can meet the same traffic,
//! so the order is a topological one, and the lists' own order where nothing constrains. When the
//! constraints contradict each other no single order satisfies them; then the stricter go first,
//! which refuses too much rather than too little, and the policies show `Conflicted`.

use mesh_api::resources::{Action, Rule};

use super::conflict::{peers_overlap, ranges_overlap};

/// Orders the rules of policies of equal priority, each policy's in its own order.
pub(super) fn at_equal_priority(policies: Vec<Vec<Rule>>) -> Vec<Rule> {
    if policies.len() < 2 {
        return policies.into_iter().flatten().collect();
    }
    let rules: Vec<(usize, usize, Rule)> = policies
        .into_iter()
        .enumerate()
        .flat_map(|(policy, rules)| {
            rules.into_iter().enumerate().map(move |(place, rule)| (policy, place, rule))
        })
        .collect();
    match topological(&rules) {
        Some(order) => order.into_iter().map(|index| rules[index].2.clone()).collect(),
        None => {
            let mut rules: Vec<Rule> = rules.into_iter().map(|(.., rule)| rule).collect();
            rules.sort_by_key(leniency);
            rules
        }
    }
}

/// How much of what a rule matches may still be refused: the least first.
fn leniency(rule: &Rule) -> u8 {
    match rule.action() {
        Action::Deny | Action::Unspecified => 0,
        Action::Pass => 1,
        Action::Allow => 2,
    }
}

/// Whether `a` must come before `b`.
fn precedes(a: &(usize, usize, Rule), b: &(usize, usize, Rule)) -> bool {
    let meet = || ranges_overlap(&a.2.ports, &b.2.ports) && peers_overlap(&a.2.peers, &b.2.peers);
    let wanted = if a.0 == b.0 { a.1 < b.1 } else { leniency(&a.2) < leniency(&b.2) };
    wanted && meet()
}

/// Kahn's algorithm, the first free rule first; nothing where the constraints form a circle.
fn topological(rules: &[(usize, usize, Rule)]) -> Option<Vec<usize>> {
    let before: Vec<Vec<usize>> = rules
        .iter()
        .map(|rule| (0..rules.len()).filter(|other| precedes(&rules[*other], rule)).collect())
        .collect();
    let mut placed = vec![false; rules.len()];
    let mut order = Vec::with_capacity(rules.len());
    while order.len() < rules.len() {
        let free = (0..rules.len())
            .find(|index| !placed[*index] && before[*index].iter().all(|other| placed[*other]))?;
        placed[free] = true;
        order.push(free);
    }
    Some(order)
}
