//! The build as a whole: YAML in, resources and conditions out.

mod enrolment;
mod examples;
mod incremental;
mod oracle;
mod policies;
mod scale;
mod services;
mod settings;
mod shadow;
mod verdicts;

use std::{collections::BTreeMap, sync::Arc};

use mesh_api::{
    condition::Condition,
    resources::{Endpoint, NodeConfig, PodPolicy, Service, ServiceRoutes, Workload},
};
use prost::{Message, Name};

use super::{Builder, Changes, ResourceKey, ResourceKind, RouteParents, Scope};
use crate::{objects::Objects, source::of_yaml};

/// A built mesh, resources decoded on demand.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Mesh {
    shared: BTreeMap<ResourceKey, Vec<u8>>,
    own: BTreeMap<(String, ResourceKey), Vec<u8>>,
    conditions: BTreeMap<String, Vec<Condition>>,
    parents: Arc<RouteParents>,
}

impl Mesh {
    pub(super) fn of(yaml: &str) -> Self {
        let snapshot = of_yaml(yaml);
        assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
        Self::of_objects(snapshot.objects)
    }

    pub(super) fn of_objects(objects: Objects) -> Self {
        let mut mesh = Self::default();
        mesh.apply(Builder::default().update(objects));
        mesh
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        for (scope, key) in changes.removed {
            match scope {
                Scope::Shared => assert!(self.shared.remove(&key).is_some(), "{key:?}"),
                Scope::Node(node) => {
                    assert!(self.own.remove(&(node.to_string(), key.clone())).is_some(), "{key:?}")
                }
            }
        }
        for (scope, key, encoded) in changes.updated {
            let value = encoded.resource.value.clone();
            match scope {
                Scope::Shared => self.shared.insert(key, value),
                Scope::Node(node) => self.own.insert((node.to_string(), key), value),
            };
        }
        self.parents = changes.parents;
        let conditions = changes.conditions.into_iter();
        self.conditions = conditions.map(|(object, conditions)| (object.to_string(), conditions)).collect();
    }

    fn get<T: Message + Name + Default>(&self, node: &str, kind: ResourceKind, name: &str) -> Option<T> {
        let key = ResourceKey::new(kind, name);
        let value = self.own.get(&(node.to_owned(), key.clone())).or_else(|| self.shared.get(&key))?;
        Some(T::decode(value.as_slice()).unwrap())
    }

    pub(super) fn workload(&self, node: &str, name: &str) -> Option<Workload> {
        self.get(node, ResourceKind::Workload, name)
    }

    pub(super) fn service(&self, node: &str, name: &str) -> Option<Service> {
        self.get(node, ResourceKind::Service, name)
    }

    pub(super) fn routes(&self, name: &str) -> Option<ServiceRoutes> {
        self.get("", ResourceKind::ServiceRoutes, name)
    }

    /// What the status of a route says of its parents, in their order.
    pub(super) fn parents(&self, route: &str) -> Vec<Vec<Condition>> {
        let found = self.parents.iter().find(|(name, _)| name.to_string() == route);
        let statuses = found.into_iter().flat_map(|(_, statuses)| statuses);
        statuses.map(|status| status.conditions.clone()).collect()
    }

    pub(super) fn policy(&self, node: &str, name: &str) -> Option<PodPolicy> {
        self.get(node, ResourceKind::PodPolicy, name)
    }

    pub(super) fn config(&self, node: &str) -> NodeConfig {
        self.get(node, ResourceKind::NodeConfig, node).unwrap()
    }

    pub(super) fn condition(&self, object: &str, kind: &str) -> Option<&Condition> {
        self.conditions.get(object)?.iter().find(|condition| condition.kind == kind)
    }
}

/// A scheduled, ready pod.
pub(super) fn pod(name: &str, node: &str, address: &str, labels: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, uid: u-{name}, labels: {{{labels}}}}}
spec:
  nodeName: {node}
  containers: [{{name: main, ports: [{{name: http, containerPort: 8080}}]}}]
status: {{phase: Running, podIP: {address}, conditions: [{{type: Ready, status: 'True'}}]}}
"
    )
}

/// Endpoints as text, sorted.
pub(super) fn endpoints(endpoints: &[Endpoint]) -> Vec<String> {
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => std::net::IpAddr::from(v4).to_string(),
        Err(_) => format!("[{}]", std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap())),
    };
    let mut texts: Vec<_> = endpoints
        .iter()
        .map(|endpoint| format!("{}:{}", address(&endpoint.address), endpoint.port))
        .collect();
    texts.sort();
    texts
}
