//! The model: objects in, per-node resources and status conditions out.
//!
//! [`Builder`] is a pure function with a memory. It does no I/O and has no clock, and what it has
//! published after any series of updates is what a fresh one publishes for the last state. The
//! memory makes a change cost what it touches: a pod is read again only if it or its namespace
//! changed, a Service only if one of its pods did, a policy only if a group of pods came or went,
//! a pod's rules only if a policy or the pod itself did.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`settings`] | the `MeshConfig` | what holds in the mesh and in each namespace |
//! | [`pod`], [`mirror`], [`enrol`], [`probes`] | a Pod | what the mesh knows of it |
//! | [`service`], [`app_protocol`], [`backends`], [`topology`], [`narrow`] | a Service, slices, pods | what a node sees of it |
//! | [`policy`] | policies | the rules of each pod |
//! | [`routes`] | routes of the Gateway API, Services | what is done with requests to a Service |
//! | [`announce`] | an XMesh | what the mesh says of itself |
//! | [`resource`] | messages | encoded, versioned resources |

mod announce;
mod app_protocol;
mod backends;
mod conditions;
mod enrol;
mod fields;
mod judge;
mod literal;
mod mirror;
mod namespaces;
mod narrow;
mod node;
mod pod;
mod pods;
mod policies;
mod policy;
mod probes;
mod publish;
mod resource;
mod routes;
mod service;
mod services;
mod settings;
#[cfg(test)]
mod tests;
mod topology;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::condition::{Condition, ENROLLED};

pub(crate) use announce::FEATURES;
pub(crate) use enrol::refusal;
pub(crate) use judge::judge;
pub use resource::{Changes, Encoded, ResourceKey, ResourceKind, Resources, Scope};
pub use routes::{ParentStatus, RouteParents};
pub use settings::CaSettings;
pub(crate) use settings::SINGLETON;

use crate::{
    ca::Demand,
    objects::{Conditions, ObjectName, ObjectRef, Objects},
};
use enrol::Enrolment;
use namespaces::Namespaces;
use node::Nodes;
use pod::PodView;
use pods::Pods;
use policies::Policies;
use publish::Published;
use routes::Routes;
use services::Services;
use settings::Settings;

/// Builds the model, update by update.
#[derive(Debug, Default)]
pub struct Builder {
    objects: Objects,
    settings: Arc<Settings>,
    namespaces: Namespaces,
    nodes: Nodes,
    pods: Pods,
    services: Services,
    routes: Routes,
    policies: Policies,
    published: Published,
    /// Of `MeshConfig`s.
    config_conditions: Conditions,
    /// Of pods that ask to be in the mesh and are refused.
    refusals: Conditions,
}

/// Pods that changed: name, what was, what is.
type PodChanges = Vec<(ObjectName, Option<Arc<PodView>>, Option<Arc<PodView>>)>;

impl Builder {
    /// Takes over a new state of the objects; tells what changed in what nodes are sent.
    pub fn update(&mut self, objects: Objects) -> Changes {
        let old = std::mem::replace(&mut self.objects, objects);
        let settings_changed = self.update_settings(&old);
        let moved_namespaces = self.update_namespaces(&old);
        let classes_changed = changed(&old.runtime_classes, &self.objects.runtime_classes).next().is_some();
        let (pods, groups_changed) =
            self.update_pods(&old, &moved_namespaces, settings_changed || classes_changed);
        let nodes_changed = self.update_nodes(&old, &pods);
        let services_changed =
            self.services.update(&old, &self.objects, &pods, nodes_changed, &self.pods, &self.nodes);
        let routed = self.routes.update(&old, &self.objects, &self.services, &services_changed);
        let world = policies::Around {
            settings: &self.settings,
            namespaces: &self.namespaces,
            pods: &self.pods,
            services: &self.services,
        };
        let surroundings = policies::Moved {
            settings: settings_changed,
            namespaces: !moved_namespaces.is_empty(),
            groups: groups_changed,
            services: &services_changed,
        };
        let rules_changed = self.policies.update(&old, &self.objects, world, surroundings);
        self.publish_pods(&pods, rules_changed);
        let placed =
            pods.iter().map(|(name, _, pod)| (name.clone(), pod.as_ref().and_then(|pod| pod.placement())));
        let placed = placed.collect();
        self.published.services(&self.services, &services_changed, nodes_changed, &self.nodes);
        for service in &routed {
            self.published.routes(service, self.routes.of_service(service));
        }
        if settings_changed || nodes_changed {
            self.published.node_configs(&self.settings, self.config_origins(), &self.nodes);
        }
        let (updated, removed) = self.published.take_changes();
        Changes { updated, removed, placed, conditions: self.conditions(), parents: self.routes.parents() }
    }

    /// What the certificate authority needs to know of the state that was taken over last.
    #[must_use]
    pub fn authority(&self) -> Demand {
        Demand {
            trust_domain: self.settings.trust_domain.clone(),
            settings: self.settings.ca.clone(),
            nodes: self.nodes.iter().map(|(name, _)| name.to_owned()).collect(),
            secret: self
                .settings
                .ca
                .secret
                .as_ref()
                .and_then(|name| self.objects.ca_secrets.get(name))
                .cloned(),
        }
    }

    fn update_settings(&mut self, old: &Objects) -> bool {
        if changed(&old.mesh_configs, &self.objects.mesh_configs).next().is_none() {
            return false;
        }
        let mut settings = Settings::default();
        self.config_conditions.clear();
        for (name, config) in &self.objects.mesh_configs {
            let problems = if name.name == settings::SINGLETON {
                let (read, problems) = settings::read(config);
                settings = read;
                problems
            } else {
                vec![settings::not_the_singleton(&name.name)]
            };
            let condition = conditions::accepted(&problems, || "the settings are in force".to_owned());
            let reference = ObjectRef::mesh("MeshConfig", name.clone());
            self.config_conditions.insert(reference, vec![condition.at(config.generation)]);
        }
        let changed = *self.settings != settings;
        self.settings = Arc::new(settings);
        changed
    }

    fn update_namespaces(&mut self, old: &Objects) -> BTreeSet<String> {
        if changed(&old.namespaces, &self.objects.namespaces).next().is_none() {
            return BTreeSet::new();
        }
        let namespaces = Namespaces::of(&self.objects.namespaces);
        let moved = namespaces.changed_since(&self.namespaces);
        self.namespaces = namespaces;
        moved
    }

    fn update_pods(&mut self, old: &Objects, moved: &BTreeSet<String>, all: bool) -> (PodChanges, bool) {
        let mut dirty: BTreeSet<ObjectName> = changed(&old.pods, &self.objects.pods).cloned().collect();
        if all {
            dirty.extend(self.objects.pods.keys().cloned());
        }
        for namespace in moved {
            dirty.extend(self.pods.of_namespace(namespace).cloned());
        }
        let mut changes = Vec::new();
        let mut groups_changed = false;
        for name in dirty {
            let view = self.objects.pods.get(&name).map(|pod| {
                let handler = |class: &str| {
                    let class = self.objects.runtime_classes.get(&ObjectName::cluster(class))?;
                    Some(class.handler.clone())
                };
                let labels = self.namespaces.labels(&name.namespace);
                let mut view = PodView::of(&name, pod, &labels, handler, &self.settings);
                if let Some(first) = self.pods.other_class_of(&view) {
                    view.give_way(first);
                }
                Arc::new(view)
            });
            if self.pods.get(&name) == view.as_ref() {
                continue;
            }
            self.update_refusal(&name, view.as_deref());
            let (old, moved) = self.pods.replace(&name, view.clone());
            groups_changed |= moved;
            changes.push((name, old, view));
        }
        (changes, groups_changed)
    }

    fn update_refusal(&mut self, name: &ObjectName, pod: Option<&PodView>) {
        let reference =
            ObjectRef { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name: name.clone() };
        match pod.map(|pod| &pod.enrolment) {
            Some(Enrolment::Refused(refusal)) => {
                let condition = Condition::failed(ENROLLED, refusal.reason, &refusal.message);
                self.refusals.insert(reference, vec![condition]);
            }
            _ => {
                self.refusals.remove(&reference);
            }
        }
    }

    fn update_nodes(&mut self, old: &Objects, pods: &PodChanges) -> bool {
        let moved = pods.iter().any(|(_, old, new)| {
            let node =
                |pod: &Option<Arc<PodView>>| pod.as_ref().map(|pod| pod.node.clone()).unwrap_or_default();
            let (old, new) = (node(old), node(new));
            // A node that only pods name goes with the last of them.
            old != new && (!self.nodes.has(&new) || !old.is_empty())
        });
        if !moved && changed(&old.nodes, &self.objects.nodes).next().is_none() {
            return false;
        }
        let nodes = Nodes::of(&self.objects.nodes, self.pods.iter().map(|pod| pod.node.as_str()));
        let changed = nodes != self.nodes;
        self.nodes = nodes;
        changed
    }

    fn publish_pods(&mut self, changes: &PodChanges, rules_changed: bool) {
        for (_, old, new) in changes {
            if let Some(old) = old
                && new.as_ref().is_none_or(|new| new.uid != old.uid || new.node != old.node || !new.is_live())
            {
                self.published.withdraw_pod(old);
            }
            if let Some(new) = new.as_ref().filter(|new| new.is_live()) {
                self.published.pod(new);
            }
        }
        for (name, _, new) in changes {
            if !new.as_ref().is_some_and(|pod| has_rules(pod)) {
                self.policies.forget(name);
            }
        }
        let config = self.config_origins();
        let mut publish = |pod: &Arc<PodView>| {
            if has_rules(pod) {
                let rules = self.policies.rules(pod, &self.settings, &self.services);
                self.published.policy(pod, &rules, &config);
            }
        };
        if rules_changed {
            self.pods.iter().for_each(&mut publish);
        } else {
            changes.iter().filter_map(|(_, _, new)| new.as_ref()).for_each(&mut publish);
        }
        self.policies.settle();
    }

    /// The `MeshConfig` that shapes every resource, if there is one.
    fn config_origins(&self) -> Vec<ObjectRef> {
        let name = ObjectName::cluster(settings::SINGLETON);
        let config = self.objects.mesh_configs.get(&name);
        config.map(|_| ObjectRef::mesh("MeshConfig", name)).into_iter().collect()
    }

    fn conditions(&self) -> Conditions {
        let mut all = self.config_conditions.clone();
        all.extend(self.refusals.clone());
        all.extend(self.policies.conditions());
        all.extend(self.routes.conditions());
        all.extend(announce::announced(&self.objects.x_meshes));
        all
    }
}

/// Whether there are rules of a pod: one in the node's own network has none to apply them to.
fn has_rules(pod: &PodView) -> bool {
    pod.is_live() && !pod.node.is_empty() && !pod.host_network
}

/// The names whose values came, went or changed. Unchanged values are mostly the same pointer.
fn changed<'a, K: Ord, T: PartialEq>(
    old: &'a BTreeMap<K, Arc<T>>,
    new: &'a BTreeMap<K, Arc<T>>,
) -> impl Iterator<Item = &'a K> {
    let same = |a: &Arc<T>, b: &Arc<T>| Arc::ptr_eq(a, b) || a == b;
    let came_or_changed =
        new.iter().filter(move |(name, value)| old.get(*name).is_none_or(|old| !same(old, value)));
    let went = old.keys().filter(|name| !new.contains_key(*name));
    came_or_changed.map(|(name, _)| name).chain(went)
}
