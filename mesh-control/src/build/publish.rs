//! What nodes are sent, and what changed of it.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use mesh_api::resources::{PodPolicy, Service, ServiceRoutes};

use super::{
    narrow::narrow,
    node::Nodes,
    pod::PodView,
    policy::Directions,
    resource::{Encoded, ResourceKey, ResourceKind, Resources, Scope},
    services::Services,
    settings::Settings,
};
use crate::objects::{ObjectName, ObjectRef};

type Updated = Vec<(Scope, ResourceKey, Arc<Encoded>)>;
type Removed = Vec<(Scope, ResourceKey)>;

/// Everything that was published, and the changes since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Published {
    resources: BTreeMap<Scope, Resources>,
    updated: Updated,
    removed: Removed,
}

impl Published {
    /// The changes since the last call.
    pub(super) fn take_changes(&mut self) -> (Updated, Removed) {
        (std::mem::take(&mut self.updated), std::mem::take(&mut self.removed))
    }

    /// A pod, as every node and as its own sees it.
    pub(super) fn pod(&mut self, pod: &PodView) {
        let key = ResourceKey::new(ResourceKind::Workload, pod.resource_name());
        self.put(Scope::Shared, key.clone(), Encoded::of_pod(&pod.resource(false)));
        if !pod.node.is_empty() {
            let scope = Scope::Node(pod.node.as_str().into());
            self.put(scope, key, Encoded::of_pod(&pod.resource(true)));
        }
    }

    /// A pod is no more, or no longer there.
    pub(super) fn withdraw_pod(&mut self, pod: &PodView) {
        let name: Arc<str> = pod.resource_name().into();
        let node = Scope::Node(pod.node.as_str().into());
        self.remove(&Scope::Shared, &ResourceKey::new(ResourceKind::Workload, name.clone()));
        self.remove(&node, &ResourceKey::new(ResourceKind::Workload, name.clone()));
        self.remove(&node, &ResourceKey::new(ResourceKind::PodPolicy, name));
    }

    /// The rules of a pod.
    pub(super) fn policy(&mut self, pod: &PodView, rules: &Directions, config: &[ObjectRef]) {
        let resource = PodPolicy {
            pod_uid: pod.uid.clone(),
            ingress: Some(rules.ingress.clone()),
            egress: Some(rules.egress.clone()),
        };
        let origins = rules.origins.iter().chain(config).cloned().collect();
        let key = ResourceKey::new(ResourceKind::PodPolicy, pod.resource_name());
        self.put(Scope::Node(pod.node.as_str().into()), key, Encoded::new(&resource, origins));
    }

    /// The Services that changed, or all of them when nodes did.
    pub(super) fn services(
        &mut self,
        services: &Services,
        changed: &BTreeSet<ObjectName>,
        nodes_changed: bool,
        nodes: &Nodes,
    ) {
        let all = services.views().keys().filter(|_| nodes_changed);
        let names: BTreeSet<&ObjectName> = changed.iter().chain(all).collect();
        let scopes: Vec<Scope> =
            self.resources.keys().filter(|scope| **scope != Scope::Shared).cloned().collect();
        for name in names {
            let keys = [name.to_string(), format!("{name}/external")]
                .map(|name| ResourceKey::new(ResourceKind::Service, name));
            let view = services.views().get(name);
            let seen_from = |node: &str| {
                view.map(|view| narrow(view, node, nodes))
                    .map_or([None, None], |narrowed| [narrowed.service, narrowed.external])
            };
            let shared = seen_from("");
            for (key, service) in keys.iter().zip(&shared) {
                self.put_or_remove(&Scope::Shared, key, service.as_ref());
            }
            let differs = view.is_some_and(|view| view.depends_on_node());
            for (node, _) in nodes.iter().filter(|_| differs) {
                let scope = Scope::Node(node.into());
                for ((key, service), shared) in keys.iter().zip(seen_from(node)).zip(&shared) {
                    // Most nodes see what every node sees.
                    let own = service.filter(|service| Some(service) != shared.as_ref());
                    self.put_or_remove(&scope, key, own.as_ref());
                }
            }
            for scope in &scopes {
                if let Scope::Node(node) = scope
                    && !(differs && nodes.has(node))
                {
                    keys.iter().for_each(|key| self.remove(scope, key));
                }
            }
        }
    }

    /// The routes of a Service, which every node is told of: callers may be anywhere.
    pub(super) fn routes(&mut self, service: &ObjectName, routes: Option<(&ServiceRoutes, Vec<ObjectRef>)>) {
        let key = ResourceKey::new(ResourceKind::ServiceRoutes, service.to_string());
        match routes {
            Some((routes, origins)) => self.put(Scope::Shared, key, Encoded::new(routes, origins.into())),
            None => self.remove(&Scope::Shared, &key),
        }
    }

    /// The settings of every node.
    pub(super) fn node_configs(&mut self, settings: &Settings, origins: Vec<ObjectRef>, nodes: &Nodes) {
        let encoded = Encoded::new(&settings.node_config(), origins.into());
        let gone: Vec<(Scope, ResourceKey)> = self
            .resources
            .iter()
            .filter_map(|(scope, resources)| {
                let Scope::Node(node) = scope else { return None };
                let key = ResourceKey::new(ResourceKind::NodeConfig, node.clone());
                (!nodes.has(node) && resources.contains_key(&key)).then(|| (scope.clone(), key))
            })
            .collect();
        for (scope, key) in gone {
            self.remove(&scope, &key);
        }
        for (node, _) in nodes.iter() {
            let node: Arc<str> = node.into();
            let key = ResourceKey::new(ResourceKind::NodeConfig, node.clone());
            self.put(Scope::Node(node), key, encoded.clone());
        }
    }

    fn put_or_remove(&mut self, scope: &Scope, key: &ResourceKey, service: Option<&Service>) {
        match service {
            Some(service) => self.put(scope.clone(), key.clone(), Encoded::of_service(service)),
            None => self.remove(scope, key),
        }
    }

    fn put(&mut self, scope: Scope, key: ResourceKey, encoded: Encoded) {
        let resources = self.resources.entry(scope.clone()).or_default();
        if resources.get(&key).is_some_and(|old| **old == encoded) {
            return;
        }
        let encoded = Arc::new(encoded);
        resources.insert(key.clone(), encoded.clone());
        self.updated.push((scope, key, encoded));
    }

    fn remove(&mut self, scope: &Scope, key: &ResourceKey) {
        let Some(resources) = self.resources.get_mut(scope) else { return };
        if resources.remove(key).is_some() {
            self.removed.push((scope.clone(), key.clone()));
        }
        if resources.is_empty() {
            self.resources.remove(scope);
        }
    }
}
