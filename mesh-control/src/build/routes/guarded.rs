//! Backends that somebody wants TLS to be spoken to (BackendTLSPolicy). That is not built, and without it they cannot be
//! used: the specification has such a backend count as invalid.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::condition::{ACCEPTED, Condition};

use super::super::changed;
use crate::objects::{BACKEND_TLS_VERSIONS, Custom, ObjectName, ObjectRef};

type Policies = BTreeMap<ObjectName, Arc<Custom>>;

/// Services by name, with the names of the ports (nothing for all of them) and of the policies.
#[derive(Debug, Default)]
pub(super) struct Guarded(BTreeMap<ObjectName, BTreeSet<(Option<String>, ObjectName)>>);

impl Guarded {
    /// Takes over what changed; returns the Services that a policy is or was about.
    pub(super) fn update(&mut self, old: &Policies, new: &Policies) -> BTreeSet<ObjectName> {
        let mut touched = BTreeSet::new();
        for name in changed(old, new) {
            for (service, port) in old.get(name).into_iter().flat_map(|policy| targets(policy)) {
                if let Some(guards) = self.0.get_mut(&service) {
                    guards.remove(&(port, name.clone()));
                    if guards.is_empty() {
                        self.0.remove(&service);
                    }
                }
                touched.insert(service);
            }
            for (service, port) in new.get(name).into_iter().flat_map(|policy| targets(policy)) {
                self.0.entry(service.clone()).or_default().insert((port, name.clone()));
                touched.insert(service);
            }
        }
        touched
    }

    /// The policy that is about a port of a Service.
    pub(super) fn by(&self, service: &ObjectName, port_name: &str) -> Option<&ObjectName> {
        let mut guards = self.0.get(service)?.iter();
        let guard = guards.find(|(port, _)| port.as_deref().is_none_or(|port| port == port_name));
        guard.map(|(_, policy)| policy)
    }
}

/// The Services of its own namespace that a policy names.
fn targets(policy: &Custom) -> Vec<(ObjectName, Option<String>)> {
    let refs = policy.spec.get("targetRefs").and_then(|refs| refs.as_array()).into_iter().flatten();
    let target = |target: &serde_json::Value| {
        let text = |field| target.get(field).and_then(serde_json::Value::as_str);
        let is_service = text("group") == Some("") && text("kind") == Some("Service");
        let name = text("name").filter(|_| is_service)?;
        Some((ObjectName::new(&policy.name.namespace, name), text("sectionName").map(str::to_owned)))
    };
    refs.filter_map(target).collect()
}

/// What is said of every such policy.
pub(super) fn refusals(policies: &Policies) -> impl Iterator<Item = (ObjectRef, Vec<Condition>)> + '_ {
    policies.iter().map(|(name, policy)| {
        let reference = ObjectRef {
            api_version: BACKEND_TLS_VERSIONS[0].to_owned(),
            kind: "BackendTLSPolicy".to_owned(),
            name: name.clone(),
        };
        let message = "kind BackendTLSPolicy is not built yet; what routes send to the Services that it names is refused";
        let condition = Condition::failed(ACCEPTED, "KindNotBuilt", message).at(policy.generation);
        (reference, vec![condition])
    })
}
