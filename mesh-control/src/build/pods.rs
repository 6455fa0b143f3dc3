//! All pods, found by name, by label and by group.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use mesh_api::{GroupId, crd::Protocol};

use super::pod::PodView;
use crate::objects::ObjectName;

/// The pods, with the indexes that keep a lookup from going through all of them.
#[derive(Debug, Default)]
pub(super) struct Pods {
    views: BTreeMap<ObjectName, Arc<PodView>>,
    by_label: HashMap<(String, String, String), BTreeSet<ObjectName>>,
    /// Enrolled pods that are live, by address.
    enrolled: HashMap<IpAddr, BTreeSet<ObjectName>>,
    groups: BTreeMap<GroupId, Group>,
    per_namespace: BTreeMap<String, usize>,
}

/// A class of pods that every policy treats alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Ports by name, with the number of pods that have each; pods of one group differ at times.
    ports: BTreeMap<(Protocol, String), BTreeMap<u16, usize>>,
    pods: usize,
}

impl Group {
    /// The numbers that its pods give a port name.
    pub(super) fn ports_named<'a>(
        &'a self,
        protocol: Protocol,
        name: &str,
    ) -> impl Iterator<Item = u16> + use<'a> {
        self.ports.get(&(protocol, name.to_owned())).into_iter().flat_map(|numbers| numbers.keys().copied())
    }

    /// Every name that its pods give a port, with the number.
    pub(super) fn port_names(&self) -> impl Iterator<Item = (Protocol, String, u16)> {
        let ports = self.ports.iter();
        ports.flat_map(|((protocol, name), numbers)| {
            numbers.keys().map(|number| (*protocol, name.clone(), *number))
        })
    }
}

impl Pods {
    /// Every pod.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<PodView>> {
        self.views.values()
    }

    /// A pod by name.
    pub(super) fn get(&self, name: &ObjectName) -> Option<&Arc<PodView>> {
        self.views.get(name)
    }

    /// The groups of the pods that nodes are told of.
    pub(super) fn groups(&self) -> &BTreeMap<GroupId, Group> {
        &self.groups
    }

    /// Whether an address is an enrolled pod's.
    pub(super) fn is_enrolled_at(&self, address: IpAddr) -> bool {
        self.enrolled.contains_key(&address)
    }

    /// The class that has this pod's group although the pod is of another one. Groups are hashes, and
    /// what they are made of is chosen by whoever writes the pods.
    pub(super) fn other_class_of(&self, pod: &PodView) -> Option<&Group> {
        self.groups.get(&pod.group).filter(|group| {
            (&group.namespace, &group.service_account, &group.labels)
                != (&pod.name.namespace, &pod.service_account, &pod.labels)
        })
    }

    /// Whether any pod is in a namespace.
    pub(super) fn any_in(&self, namespace: &str) -> bool {
        self.per_namespace.contains_key(namespace)
    }

    /// The pods of a namespace.
    pub(super) fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a ObjectName> {
        let start = ObjectName::new(namespace, "");
        self.views.range(start..).map(|(name, _)| name).take_while(move |name| name.namespace == namespace)
    }

    /// The pods of a namespace that have all of these labels, at least one.
    pub(super) fn selected(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<&Arc<PodView>> {
        let buckets = labels
            .iter()
            .map(|(key, value)| self.by_label.get(&(namespace.to_owned(), key.clone(), value.clone())));
        // The rarest label leaves the fewest pods to look at.
        let rarest = buckets.min_by_key(|bucket| bucket.map_or(0, BTreeSet::len)).flatten();
        let candidates = rarest.into_iter().flatten().filter_map(|name| self.views.get(name));
        candidates.filter(|pod| has_all(&pod.labels, labels)).collect()
    }

    /// Puts a pod in, or takes it out. Returns what was there, and whether a group came, went or
    /// got other port names by it.
    pub(super) fn replace(
        &mut self,
        name: &ObjectName,
        pod: Option<Arc<PodView>>,
    ) -> (Option<Arc<PodView>>, bool) {
        let old = match &pod {
            Some(pod) => self.views.insert(name.clone(), pod.clone()),
            None => self.views.remove(name),
        };
        let mut groups_changed = false;
        for address in old.iter().flat_map(|pod| pod.enrolled_addresses()) {
            if let Some(names) = self.enrolled.get_mut(address) {
                names.remove(name);
                if names.is_empty() {
                    self.enrolled.remove(address);
                }
            }
        }
        if let Some(pod) = &pod {
            for address in pod.enrolled_addresses() {
                self.enrolled.entry(*address).or_default().insert(name.clone());
            }
            self.index(pod);
            groups_changed |= self.join(pod);
        }
        if let Some(old) = &old {
            let keep = pod.as_ref().map(|pod| &pod.labels);
            self.unindex(old, keep);
            groups_changed |= self.leave(old);
        }
        (old, groups_changed)
    }

    fn index(&mut self, pod: &Arc<PodView>) {
        *self.per_namespace.entry(pod.name.namespace.clone()).or_default() += 1;
        for (key, value) in &pod.labels {
            let bucket = (pod.name.namespace.clone(), key.clone(), value.clone());
            self.by_label.entry(bucket).or_default().insert(pod.name.clone());
        }
    }

    fn unindex(&mut self, pod: &PodView, keep: Option<&BTreeMap<String, String>>) {
        if let Some(count) = self.per_namespace.get_mut(&pod.name.namespace) {
            *count -= 1;
            if *count == 0 {
                self.per_namespace.remove(&pod.name.namespace);
            }
        }
        for (key, value) in &pod.labels {
            if keep.is_some_and(|keep| keep.get(key) == Some(value)) {
                continue;
            }
            let bucket = (pod.name.namespace.clone(), key.clone(), value.clone());
            if let Some(names) = self.by_label.get_mut(&bucket) {
                names.remove(&pod.name);
                if names.is_empty() {
                    self.by_label.remove(&bucket);
                }
            }
        }
    }

    fn join(&mut self, pod: &PodView) -> bool {
        if !pod.is_live() {
            return false;
        }
        let group = self.groups.entry(pod.group).or_insert_with(|| Group {
            namespace: pod.name.namespace.clone(),
            service_account: pod.service_account.clone(),
            labels: pod.labels.clone(),
            ports: BTreeMap::new(),
            pods: 0,
        });
        group.pods += 1;
        let mut changed = group.pods == 1;
        for (name, number) in &pod.named_ports {
            let count = group.ports.entry(name.clone()).or_default().entry(*number).or_default();
            *count += 1;
            changed |= *count == 1;
        }
        changed
    }

    fn leave(&mut self, pod: &PodView) -> bool {
        let Some(group) = self.groups.get_mut(&pod.group).filter(|_| pod.is_live()) else { return false };
        group.pods -= 1;
        if group.pods == 0 {
            self.groups.remove(&pod.group);
            return true;
        }
        let mut changed = false;
        for (name, number) in &pod.named_ports {
            let Some(numbers) = group.ports.get_mut(name) else { continue };
            if let Some(count) = numbers.get_mut(number) {
                *count -= 1;
                if *count == 0 {
                    numbers.remove(number);
                    changed = true;
                }
            }
            if numbers.is_empty() {
                group.ports.remove(name);
            }
        }
        changed
    }
}

/// Whether `labels` has every one of `wanted`.
pub(super) fn has_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
