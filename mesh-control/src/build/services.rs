//! All Services, each gathered again only when something of it changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{
    PodChanges,
    backends::{SERVICE_NAME, addresses},
    changed,
    node::Nodes,
    pod::PodView,
    pods::{Pods, has_all},
    service::ServiceView,
};
use crate::objects::{ObjectName, Objects};

/// The Services, and the slices that are theirs.
#[derive(Debug, Default)]
pub(super) struct Services {
    views: BTreeMap<ObjectName, Arc<ServiceView>>,
    slices: BTreeMap<ObjectName, BTreeMap<ObjectName, Arc<EndpointSlice>>>,
    /// Services that a slice gives an address to, with how many of its endpoints do.
    by_address: HashMap<IpAddr, BTreeMap<ObjectName, usize>>,
    /// Services with a selector, by one of its labels: those that a pod with the label may be of.
    by_label: BTreeMap<(String, String, String), BTreeSet<ObjectName>>,
}

impl Services {
    /// Every Service by name.
    pub(super) fn views(&self) -> &BTreeMap<ObjectName, Arc<ServiceView>> {
        &self.views
    }

    /// Gathers what changed; returns the names of Services that are other than before.
    pub(super) fn update(
        &mut self,
        old: &Objects,
        new: &Objects,
        pod_changes: &PodChanges,
        nodes_changed: bool,
        pods: &Pods,
        nodes: &Nodes,
    ) -> BTreeSet<ObjectName> {
        let mut dirty: BTreeSet<ObjectName> = changed(&old.services, &new.services).cloned().collect();
        dirty.extend(self.update_slices(old, new));
        for (_, before, after) in pod_changes {
            for pod in [before, after].into_iter().flatten() {
                dirty.extend(self.selecting(pod));
                let given = pod.addresses.iter().filter_map(|address| self.by_address.get(address));
                dirty.extend(given.flat_map(BTreeMap::keys).cloned());
            }
        }
        if nodes_changed {
            dirty.extend(new.services.keys().cloned());
        }
        let mut moved = BTreeSet::new();
        for name in dirty {
            let view = new.services.get(&name).map(|service| {
                let slices = self.slices.get(&name);
                let slices = slices.into_iter().flat_map(BTreeMap::values).map(Arc::as_ref);
                Arc::new(ServiceView::of(&name, service, slices, !new.slices_complete, pods, nodes))
            });
            if self.views.get(&name) != view.as_ref() {
                self.replace(&name, view);
                moved.insert(name);
            }
        }
        moved
    }

    fn replace(&mut self, name: &ObjectName, view: Option<Arc<ServiceView>>) {
        if let Some(label) = self.views.get(name).and_then(|view| label_of(view))
            && let Some(names) = self.by_label.get_mut(&label)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_label.remove(&label);
            }
        }
        match view {
            Some(view) => {
                if let Some(label) = label_of(&view) {
                    self.by_label.entry(label).or_default().insert(name.clone());
                }
                self.views.insert(name.clone(), view);
            }
            None => {
                self.views.remove(name);
            }
        }
    }

    /// The Services that this pod is of.
    fn selecting(&self, pod: &PodView) -> Vec<ObjectName> {
        let of_label = |(key, value): (&String, &String)| {
            self.by_label.get(&(pod.name.namespace.clone(), key.clone(), value.clone()))
        };
        let candidates = pod.labels.iter().filter_map(of_label).flatten();
        let selects = |name: &&ObjectName| {
            let selector = self.views.get(*name).and_then(|view| view.selector.as_ref());
            selector.is_some_and(|selector| has_all(&pod.labels, selector))
        };
        candidates.filter(selects).cloned().collect()
    }

    /// Sorts changed slices to their Services; returns those.
    fn update_slices(&mut self, old: &Objects, new: &Objects) -> BTreeSet<ObjectName> {
        let mut services = BTreeSet::new();
        for name in changed(&old.endpoint_slices, &new.endpoint_slices) {
            if let Some(service) = old.endpoint_slices.get(name).and_then(|slice| service_of(name, slice)) {
                if let Some(slices) = self.slices.get_mut(&service) {
                    slices.remove(name);
                    if slices.is_empty() {
                        self.slices.remove(&service);
                    }
                }
                if let Some(slice) = old.endpoint_slices.get(name) {
                    self.take_addresses(&service, slice);
                }
                services.insert(service);
            }
            if let Some(slice) = new.endpoint_slices.get(name)
                && let Some(service) = service_of(name, slice)
            {
                for address in slice.endpoints.iter().flat_map(addresses) {
                    let services = self.by_address.entry(address).or_default();
                    *services.entry(service.clone()).or_default() += 1;
                }
                self.slices.entry(service.clone()).or_default().insert(name.clone(), slice.clone());
                services.insert(service);
            }
        }
        services
    }

    fn take_addresses(&mut self, service: &ObjectName, slice: &EndpointSlice) {
        for address in slice.endpoints.iter().flat_map(addresses) {
            let Some(services) = self.by_address.get_mut(&address) else { continue };
            if let Some(endpoints) = services.get_mut(service) {
                *endpoints -= 1;
                if *endpoints == 0 {
                    services.remove(service);
                }
            }
            if services.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

/// The first label of the selector, with the namespace.
fn label_of(view: &ServiceView) -> Option<(String, String, String)> {
    let (key, value) = view.selector.as_ref()?.iter().next()?;
    Some((view.name.namespace.clone(), key.clone(), value.clone()))
}

fn service_of(name: &ObjectName, slice: &EndpointSlice) -> Option<ObjectName> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectName::new(&name.namespace, service))
}
