//! All policies, and the rules that they give each class of pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::condition::{CONFLICTED, Condition};

use super::{
    changed,
    namespaces::Namespaces,
    pod::PodView,
    pods::Pods,
    policy::{
        Class, Classes, Directions, DnsRule, Draft, Policy, World, conflicts, dns_rule, read_access_policy,
        read_cluster_access_policy, resolve, shadowed,
    },
    services::Services,
    settings::Settings,
};
use crate::objects::{Conditions, Custom, ObjectName, ObjectRef, Objects};

/// The policies of the mesh.
#[derive(Debug, Default)]
pub(super) struct Policies {
    drafts: BTreeMap<ObjectRef, Arc<Draft>>,
    policies: Vec<Arc<Policy>>,
    dns: DnsRule,
    conflicts: Vec<(ObjectRef, i64, String)>,
    service_accounts: BTreeSet<ObjectName>,
    /// Rules by class; emptied whenever a policy changes.
    classes: Classes,
    shadowed: Vec<(ObjectRef, Condition)>,
}

/// What policies are resolved against.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) settings: &'a Settings,
    pub(super) namespaces: &'a Namespaces,
    pub(super) pods: &'a Pods,
    pub(super) services: &'a Services,
}

/// What of it changed.
#[derive(Clone, Copy)]
pub(super) struct Moved<'a> {
    pub(super) settings: bool,
    pub(super) namespaces: bool,
    pub(super) groups: bool,
    pub(super) services: &'a BTreeSet<ObjectName>,
}

impl Policies {
    /// Reads and resolves what changed; tells whether any pod's rules may be other than before.
    pub(super) fn update(
        &mut self,
        old: &Objects,
        new: &Objects,
        around: Around<'_>,
        moved: Moved<'_>,
    ) -> bool {
        let mut drafts_changed =
            self.read(&old.access_policies, &new.access_policies, "AccessPolicy", read_access_policy);
        drafts_changed |= self.read(
            &old.cluster_access_policies,
            &new.cluster_access_policies,
            "ClusterAccessPolicy",
            read_cluster_access_policy,
        );
        let accounts_changed = changed(&old.service_accounts, &new.service_accounts).next().is_some();
        let services_matter = !moved.services.is_empty();
        let any = drafts_changed
            || accounts_changed
            || moved.settings
            || moved.namespaces
            || moved.groups
            || services_matter;
        if !any {
            return false;
        }
        if accounts_changed || moved.groups {
            let of_groups = around.pods.groups().values();
            let of_groups = of_groups.map(|group| ObjectName::new(&group.namespace, &group.service_account));
            self.service_accounts = new.service_accounts.keys().cloned().chain(of_groups).collect();
        }
        let mut rules_changed = moved.settings || moved.namespaces;
        let dns = dns_rule(around.services.views().values().map(Arc::as_ref));
        if dns != self.dns {
            self.dns = dns;
            rules_changed = true;
        }
        rules_changed |= self.resolve(around, moved, drafts_changed || accounts_changed);
        if rules_changed {
            self.classes.clear();
            self.conflicts = conflicts(&self.policies);
        }
        rules_changed
    }

    fn read(
        &mut self,
        old: &BTreeMap<ObjectName, Arc<Custom>>,
        new: &BTreeMap<ObjectName, Arc<Custom>>,
        kind: &str,
        read: fn(&Custom) -> Draft,
    ) -> bool {
        let mut any = false;
        for name in changed(old, new) {
            any = true;
            let reference = ObjectRef::mesh(kind, name.clone());
            match new.get(name) {
                Some(policy) => self.drafts.insert(reference, Arc::new(read(policy))),
                None => self.drafts.remove(&reference),
            };
        }
        any
    }

    /// Resolves every policy that the change may touch; keeps those that come out the same.
    fn resolve(&mut self, around: Around<'_>, moved: Moved<'_>, all: bool) -> bool {
        let port_names = around.pods.groups().values().flat_map(super::pods::Group::port_names).collect();
        let world = World {
            pods: around.pods,
            namespaces: around.namespaces,
            services: around.services.views(),
            service_accounts: &self.service_accounts,
            trust_domain: &around.settings.trust_domain,
            port_names: &port_names,
        };
        let all = all || moved.settings || moved.namespaces || moved.groups;
        let mut last: BTreeMap<&ObjectRef, &Arc<Policy>> =
            self.policies.iter().map(|policy| (policy.reference(), policy)).collect();
        let mut changed = false;
        let mut policies = Vec::with_capacity(self.drafts.len());
        for (reference, draft) in &self.drafts {
            let kept = last.remove(reference);
            let untouched = !all && !draft.names_any(moved.services);
            let policy = match kept {
                Some(kept) if untouched => kept.clone(),
                kept => {
                    let resolved = resolve(draft, &world);
                    match kept.filter(|kept| ***kept == resolved) {
                        // Which pods a Service targets is decided with the class.
                        Some(kept) => {
                            changed |= kept.targets().iter().any(|name| moved.services.contains(name));
                            kept.clone()
                        }
                        None => {
                            changed = true;
                            Arc::new(resolved)
                        }
                    }
                }
            };
            policies.push(policy);
        }
        changed |= !last.is_empty();
        self.policies = policies;
        changed
    }

    /// The rules of a pod.
    pub(super) fn rules(
        &mut self,
        pod: &PodView,
        settings: &Settings,
        services: &Services,
    ) -> Arc<Directions> {
        let settings = settings.of_namespace(&pod.name.namespace);
        let class = Class::of(pod, settings, &self.policies, services.views());
        self.classes.put(&pod.name, class, &self.policies, &self.dns)
    }

    /// A pod has no rules any more.
    pub(super) fn forget(&mut self, pod: &ObjectName) {
        self.classes.forget(pod);
    }

    /// Every pod's rules were asked for: looks at what they mean for the policies.
    pub(super) fn settle(&mut self) {
        if let Some(shades) = self.classes.changed_shades() {
            self.shadowed = shadowed(&self.policies, shades);
        }
    }

    /// The conditions of every policy.
    pub(super) fn conditions(&self) -> Conditions {
        let own = self.policies.iter().map(|policy| (policy.reference().clone(), policy.conditions.clone()));
        let mut conditions: Conditions = own.collect();
        for (reference, generation, message) in &self.conflicts {
            let condition = Condition::holds(CONFLICTED, "EqualPriority", message).at(*generation);
            conditions.entry(reference.clone()).or_default().push(condition);
        }
        for (reference, condition) in &self.shadowed {
            conditions.entry(reference.clone()).or_default().push(condition.clone());
        }
        conditions
    }
}
