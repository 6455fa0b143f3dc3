//! What the workload controllers would make: the pods of a Deployment, StatefulSet, DaemonSet or Job. Names are
//! numbered, not random, so that tests can write them down.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::{Manifests, kind::Object};

/// The nodes that the manifests name; one is made up if they name none.
pub(super) fn nodes(manifests: &Manifests) -> BTreeSet<String> {
    manifests.node_names()
}

impl Manifests {
    /// The cluster's nodes: every Node object and every distinct `spec.nodeName`; `node-1` if there is none.
    #[must_use]
    pub fn node_names(&self) -> BTreeSet<String> {
        let named = self.pods.values().filter_map(|manifest| manifest.pod.spec.as_ref()?.node_name.clone());
        let mut names: BTreeSet<String> = self.nodes.keys().cloned().chain(named).collect();
        if names.is_empty() {
            names.insert("node-1".to_owned());
        }
        names
    }
}

/// The pods of one workload object; none for other kinds.
pub(super) fn pods(workload: &Object, nodes: &BTreeSet<String>) -> Vec<Pod> {
    let replicas =
        |count: Option<i32>| (0..count.unwrap_or(1).max(0)).map(|number| (number.to_string(), None));
    match workload {
        Object::Deployment(deployment) => deployment.spec.as_ref().map_or_else(Vec::new, |spec| {
            make("apps/v1", "Deployment", &deployment.metadata, &spec.template, replicas(spec.replicas))
        }),
        Object::StatefulSet(set) => set.spec.as_ref().map_or_else(Vec::new, |spec| {
            let mut pods =
                make("apps/v1", "StatefulSet", &set.metadata, &spec.template, replicas(spec.replicas));
            for pod in &mut pods {
                // Stable network identity: the pod's name below the governing Service's.
                let name = pod.metadata.name.clone();
                if let Some(pod_spec) = &mut pod.spec {
                    pod_spec.hostname = name;
                    pod_spec.subdomain = spec.service_name.clone();
                }
            }
            pods
        }),
        Object::DaemonSet(set) => set.spec.as_ref().map_or_else(Vec::new, |spec| {
            let everywhere = nodes.iter().map(|node| (node.clone(), Some(node.clone())));
            make("apps/v1", "DaemonSet", &set.metadata, &spec.template, everywhere)
        }),
        Object::Job(job) => job.spec.as_ref().map_or_else(Vec::new, |spec| {
            make(
                "batch/v1",
                "Job",
                &job.metadata,
                &spec.template,
                replicas(spec.completions.or(spec.parallelism)),
            )
        }),
        _ => Vec::new(),
    }
}

fn make(
    api_version: &str,
    kind: &str,
    owner: &ObjectMeta,
    template: &PodTemplateSpec,
    instances: impl Iterator<Item = (String, Option<String>)>,
) -> Vec<Pod> {
    let owner_name = owner.name.clone().unwrap_or_default();
    let pod = |(suffix, node): (String, Option<String>)| {
        let mut metadata = template.metadata.clone().unwrap_or_default();
        metadata.name = Some(format!("{owner_name}-{suffix}"));
        metadata.namespace.clone_from(&owner.namespace);
        metadata.owner_references = Some(vec![OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: owner_name.clone(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        let mut spec = template.spec.clone();
        if let (Some(spec), Some(node)) = (&mut spec, node) {
            spec.node_name = Some(node);
        }
        Pod { metadata, spec, status: None }
    };
    instances.map(pod).collect()
}
