//! What of the state is not in force as it stands, by the resource it came from.

use super::changes::Key;
use super::{Desired, Kind};

/// The most problems kept and told.
const PROBLEM_LIMIT: usize = 256;

impl Desired {
    /// Notes that wire refused an entry; `what` is its word for it.
    pub(crate) fn refuse(&mut self, what: &str, why: String) {
        match Key::named(what, |id| self.sets.get(id).is_some()) {
            Some(key) if self.refused.len() < PROBLEM_LIMIT => {
                self.refused.insert(key, why);
            }
            _ => tracing::warn!(what, why, "wire refused an entry"),
        }
    }

    /// Why one of these resources is not in force as it stands: over a limit, or refused by wire.
    /// Names the first.
    pub(crate) fn fault_of<'a>(
        &self,
        kind: Kind,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Option<String> {
        if self.refused.is_empty() && kind != Kind::PodPolicy {
            return None;
        }
        names.into_iter().find_map(|name| {
            let why = self.fault_of_one(kind, name)?;
            Some(format!("{} {name}: {why}", kind.name()))
        })
    }

    fn fault_of_one(&self, kind: Kind, name: &str) -> Option<String> {
        let refused = |key: Key| self.refused.get(&key).cloned();
        match kind {
            Kind::NodeConfig => refused(Key::Node),
            // Nothing of it reaches wire.
            Kind::TrustBundle => None,
            Kind::PodPolicy => {
                let compiled = self.policies.get(name)?;
                compiled
                    .problem
                    .as_ref()
                    .map(ToString::to_string)
                    .or_else(|| refused(Key::Set(compiled.ingress)))
                    .or_else(|| refused(Key::Set(compiled.egress)))
            }
            Kind::Workload => {
                let workload = self.workloads.get(name)?;
                refused(Key::Pod(workload.uid.clone()))
                    .or_else(|| workload.addresses.iter().find_map(|&address| refused(Key::Peer(address))))
            }
            // What a route makes of a Service is in the Service's entries.
            Kind::Service | Kind::ServiceRoutes => {
                self.services.entries_of(name).find_map(|id| refused(Key::Service(id)))
            }
        }
    }

    /// What is not in force as it stands, and local pods that deny everything for want of a policy.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self
            .policies
            .iter()
            .filter_map(|(name, compiled)| {
                let problem = compiled.problem.as_ref()?;
                Some(format!("PodPolicy {name}: {problem}; the pod denies everything"))
            })
            .collect();
        problems.extend(self.refused.iter().map(|(key, why)| format!("wire refused {key}: {why}")));
        problems.extend(self.local.iter().filter_map(|(uid, name)| {
            let enrolled = self.workloads.get(name).is_some_and(|workload| workload.enrolled);
            (enrolled && !self.policy_of.contains_key(uid))
                .then(|| format!("Workload {name}: no PodPolicy has come for it; the pod denies everything"))
        }));
        problems.truncate(PROBLEM_LIMIT);
        problems
    }
}
