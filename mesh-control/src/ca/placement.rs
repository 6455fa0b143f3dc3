//! Which pods are where: what the authority must know to sign for one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{PoisonError, RwLock},
};

use crate::objects::ObjectName;

/// A pod that runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its UID.
    pub uid: String,
    /// The node that it is bound to.
    pub node: String,
    /// Its service account's name.
    pub service_account: String,
    /// Whether it is in the mesh.
    pub enrolled: bool,
    /// Whether it failed or succeeded.
    pub ended: bool,
}

/// Every pod that is bound to a node, found by UID and by identity.
#[derive(Debug, Default)]
pub struct Placements(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    pods: BTreeMap<ObjectName, Placement>,
    by_uid: HashMap<String, Vec<ObjectName>>,
    /// Live enrolled pods by node, namespace and service account.
    running: BTreeMap<(String, String, String), usize>,
}

impl Placements {
    /// Takes over pods that came, went or changed.
    pub fn update(&self, changes: impl IntoIterator<Item = (ObjectName, Option<Placement>)>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (name, placement) in changes {
            index.replace(name, placement);
        }
    }

    /// The pods that have a UID. There is at most one, unless manifests were written by hand.
    pub(crate) fn of_uid(&self, uid: &str) -> Vec<(ObjectName, Placement)> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let names = index.by_uid.get(uid).into_iter().flatten();
        names.filter_map(|name| Some((name.clone(), index.pods.get(name)?.clone()))).collect()
    }

    /// Looks at every pod, by name.
    pub(crate) fn each(&self, mut look: impl FnMut(&ObjectName, &Placement)) {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        index.pods.iter().for_each(|(name, pod)| look(name, pod));
    }

    /// Whether a live enrolled pod on a node has an identity.
    pub(super) fn is_running(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        index.running.contains_key(&(node.to_owned(), namespace.to_owned(), service_account.to_owned()))
    }

    /// Node, namespace and service account of every live enrolled pod, each once.
    pub(super) fn running(&self) -> Vec<(String, String, String)> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        index.running.keys().cloned().collect()
    }
}

impl Index {
    fn replace(&mut self, name: ObjectName, placement: Option<Placement>) {
        if let Some(old) = self.pods.remove(&name) {
            if let Some(names) = self.by_uid.get_mut(&old.uid) {
                names.retain(|other| *other != name);
                if names.is_empty() {
                    self.by_uid.remove(&old.uid);
                }
            }
            if let Some(identity) = identity(&name, &old)
                && let Some(count) = self.running.get_mut(&identity)
            {
                *count -= 1;
                if *count == 0 {
                    self.running.remove(&identity);
                }
            }
        }
        if let Some(new) = placement {
            self.by_uid.entry(new.uid.clone()).or_default().push(name.clone());
            if let Some(identity) = identity(&name, &new) {
                *self.running.entry(identity).or_default() += 1;
            }
            self.pods.insert(name, new);
        }
    }
}

fn identity(name: &ObjectName, pod: &Placement) -> Option<(String, String, String)> {
    let runs = pod.enrolled && !pod.ended;
    runs.then(|| (pod.node.clone(), name.namespace.clone(), pod.service_account.clone()))
}
