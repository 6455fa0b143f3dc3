//! Namespaces and their labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Namespace;

use crate::objects::ObjectName;

/// The label that the API server gives every namespace: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

type Labels = BTreeMap<String, String>;

/// The namespaces that have an object. One that only pods name has its name as its only label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Namespaces(BTreeMap<String, Arc<Labels>>);

impl Namespaces {
    /// Reads the objects.
    pub(super) fn of(objects: &BTreeMap<ObjectName, Arc<Namespace>>) -> Self {
        let labels = |(name, namespace): (&ObjectName, &Arc<Namespace>)| {
            let own = namespace.metadata.labels.clone().unwrap_or_default();
            (name.name.clone(), Arc::new(with_name(&name.name, own)))
        };
        Self(objects.iter().map(labels).collect())
    }

    /// A namespace's labels.
    pub(super) fn labels(&self, name: &str) -> Arc<Labels> {
        self.0.get(name).cloned().unwrap_or_else(|| Arc::new(with_name(name, Labels::new())))
    }

    /// Whether there is an object for it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The namespaces that came, went or got other labels since `other`.
    pub(super) fn changed_since(&self, other: &Self) -> BTreeSet<String> {
        let names = self.0.keys().chain(other.0.keys());
        names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }
}

fn with_name(name: &str, mut labels: Labels) -> Labels {
    labels.insert(NAME_LABEL.to_owned(), name.to_owned());
    labels
}
