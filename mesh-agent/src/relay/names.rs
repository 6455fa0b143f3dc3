//! What the numbers in kernel reports stand for: pods, groups and rules by name.
//!
//! Reports come after the fact, so names outlive what they named: of what is gone the most recent
//! few thousand are kept.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::rc::Rc;

use mesh_ebpf::policy::{Direction, SetId, rule};

use super::compile::NO_RULE_ALLOWS;
use super::resource::Workload;
use crate::handover::{PolicySet, uid_hash};

/// How many names of things that are gone are kept, by kind.
const REMEMBERED: usize = 4096;
/// The same of policy sets, whose names are lists.
const REMEMBERED_SETS: usize = 256;

/// What is known of a pod by its UID's hash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PodName {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account.
    pub service_account: String,
    /// The name metrics know it by.
    pub workload: String,
    /// Its group.
    pub group: u64,
    /// It is in the mesh, so that its identity can be proven.
    pub enrolled: bool,
}

impl From<&Workload> for PodName {
    fn from(workload: &Workload) -> Self {
        Self {
            uid: workload.uid.clone(),
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            service_account: workload.service_account.clone(),
            workload: workload.workload.clone(),
            group: workload.group,
            enrolled: workload.enrolled,
        }
    }
}

/// The policy and the rule that a report names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RuleName {
    /// `<kind>/<namespace>/<name>`; empty when no policy decided.
    pub policy: String,
    /// Its rule; empty likewise.
    pub rule: String,
}

/// Names by number.
#[derive(Debug)]
pub(crate) struct Names {
    pods: Remembered<u64, Rc<PodName>>,
    /// By group: some pod of it, which shares namespace, account and labels with the others.
    groups: Remembered<u64, Rc<PodName>>,
    sets: Remembered<SetId, Rc<Vec<(String, String)>>>,
    trust_domain: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            pods: Remembered::new(REMEMBERED),
            groups: Remembered::new(REMEMBERED),
            sets: Remembered::new(REMEMBERED_SETS),
            trust_domain: "cluster.local".to_owned(),
        }
    }
}

impl Names {
    /// Notes the trust domain of every identity.
    pub(crate) fn set_trust_domain(&mut self, trust_domain: &str) {
        trust_domain.clone_into(&mut self.trust_domain);
    }

    /// Notes a pod.
    pub(crate) fn learn(&mut self, workload: &Workload) {
        let name = Rc::new(PodName::from(workload));
        self.groups.hold(workload.group, Rc::clone(&name));
        self.pods.hold(uid_hash(&workload.uid), name);
    }

    /// Notes that a pod is gone.
    pub(crate) fn forget(&mut self, workload: &Workload) {
        self.pods.release(&uid_hash(&workload.uid));
        self.groups.release(&workload.group);
    }

    /// Notes the rules of a set; once, however often wire is told of it.
    pub(crate) fn learn_set(&mut self, set: &PolicySet) {
        self.sets.release(&set.id);
        self.sets.hold(set.id, Rc::new(set.rules.clone()));
    }

    /// Notes that a set is gone.
    pub(crate) fn forget_set(&mut self, id: SetId) {
        self.sets.release(&id);
    }

    /// The pod whose UID hashes to `hash`.
    pub(crate) fn pod(&self, hash: u64) -> Option<&Rc<PodName>> {
        self.pods.get(&hash)
    }

    /// Some pod of a group: its namespace, account and workload are the group's, its name is not.
    pub(crate) fn group(&self, group: u64) -> Option<&Rc<PodName>> {
        self.groups.get(&group)
    }

    /// The SPIFFE identity of a pod.
    pub(crate) fn identity(&self, pod: &PodName) -> String {
        format!("spiffe://{}/ns/{}/sa/{}", self.trust_domain, pod.namespace, pod.service_account)
    }

    /// The rule `number` of a set.
    pub(crate) fn rule(&self, set: SetId, number: u16, direction: Direction) -> RuleName {
        let name = |policy: &str, rule: &str| RuleName { policy: policy.into(), rule: rule.into() };
        let field = match direction {
            Direction::Ingress => "defaults.access",
            Direction::Egress => "defaults.egress.access",
        };
        match number {
            rule::MISSING => RuleName::default(),
            _ if set == SetId::EMPTY => RuleName::default(),
            rule::DEFAULT => name("MeshConfig/default", field),
            rule::MTLS => name("MeshConfig/default", "defaults.mtls"),
            number => {
                let unknown = || name(&format!("set/{:016x}", set.0), &format!("#{number}"));
                let Some(rules) = self.sets.get(&set) else { return unknown() };
                let row = match number {
                    rule::ISOLATED => rules.last().filter(|row| row.1 == NO_RULE_ALLOWS),
                    number => rules.get(usize::from(number)),
                };
                row.map_or_else(unknown, |(policy, rule)| name(policy, rule))
            }
        }
    }
}

/// Values in use, and the most recent of those that no longer are.
#[derive(Debug)]
struct Remembered<K, V> {
    values: HashMap<K, (V, usize)>,
    gone: VecDeque<K>,
    limit: usize,
}

impl<K: Copy + Eq + Hash + Ord, V> Remembered<K, V> {
    fn new(limit: usize) -> Self {
        Self { values: HashMap::new(), gone: VecDeque::new(), limit }
    }

    fn hold(&mut self, key: K, value: V) {
        let holders = self.values.get(&key).map_or(0, |(_, holders)| *holders);
        self.values.insert(key, (value, holders + 1));
    }

    fn release(&mut self, key: &K) {
        let Some((_, holders)) = self.values.get_mut(key) else { return };
        *holders = holders.saturating_sub(1);
        if *holders > 0 {
            return;
        }
        self.gone.push_back(*key);
        if self.gone.len() > 2 * self.limit {
            self.sweep();
        }
    }

    /// Drops the oldest of what is gone; what came back since is skipped.
    fn sweep(&mut self) {
        let mut kept = BTreeSet::new();
        let gone: Vec<K> = self.gone.drain(..).collect();
        for key in gone.into_iter().rev() {
            if self.values.get(&key).is_none_or(|(_, holders)| *holders > 0) || kept.contains(&key) {
                continue;
            }
            if kept.len() < self.limit {
                kept.insert(key);
                self.gone.push_front(key);
            } else {
                self.values.remove(&key);
            }
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, Remembered};
    use crate::handover::PolicySet;
    use mesh_ebpf::policy::{Direction, SetId, rule};

    #[test]
    fn of_what_is_gone_the_latest_stay() {
        let mut remembered = Remembered::new(2);
        for key in 0..10 {
            remembered.hold(key, key);
        }
        remembered.hold(3, 3);
        for key in 0..10 {
            remembered.release(&key);
        }
        assert_eq!(remembered.get(&3), Some(&3), "in use");
        assert_eq!(remembered.get(&9), Some(&9), "just gone");
        assert_eq!(remembered.get(&0), None, "long gone");
        assert!(remembered.values.len() <= 1 + 2 * remembered.limit);
    }

    #[test]
    fn rules_are_named_by_policy() {
        let mut names = Names::default();
        let id = SetId::new(0x100, false, false);
        let row = |policy: &str, rule: &str| (policy.to_owned(), rule.to_owned());
        names.learn_set(&PolicySet {
            id,
            rulings: Vec::new(),
            cidrs: Vec::new(),
            rules: vec![
                row("AccessPolicy/bank/vault", "tellers"),
                row("AccessPolicy/bank/vault", super::NO_RULE_ALLOWS),
            ],
        });
        let rule = |number| {
            let name = names.rule(id, number, Direction::Ingress);
            format!("{} {}", name.policy, name.rule)
        };
        assert_eq!(rule(0), "AccessPolicy/bank/vault tellers");
        assert_eq!(rule(rule::ISOLATED), "AccessPolicy/bank/vault (no rule allows)");
        assert_eq!(rule(rule::DEFAULT), "MeshConfig/default defaults.access");
        assert_eq!(rule(rule::MTLS), "MeshConfig/default defaults.mtls");
        assert_eq!(rule(rule::MISSING), " ");
        assert_eq!(rule(7), "set/0000000000000104 #7");
    }
}
