//! Rules that allow by address what comes through a Service from outside: kube-proxy sends that on with a node's own
//! address, unless `externalTrafficPolicy: Local` (SEMANTICS 2.7).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use mesh_api::crd::{
    AccessPolicySpec, Action, ClusterAccessPolicySpec, IngressRule, LabelSelector, Mode, Subject,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::objects::{ObjectName, ObjectRef, Objects};

/// A rule whose address range will not see who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) object: ObjectRef,
    pub(super) message: String,
}

/// The pods that a policy is about, as far as labels and names tell.
enum Selected<'a> {
    Own(&'a str, Option<&'a LabelSelector>),
    Services(&'a str, BTreeSet<&'a str>),
    Cluster(&'a Subject),
}

/// Every such rule of every policy that can be read.
pub(super) fn hidden_clients(objects: &Objects) -> Vec<Hidden> {
    let mut all = Vec::new();
    for (name, policy) in &objects.access_policies {
        let Some(spec) = read::<AccessPolicySpec>(&policy.spec) else { continue };
        let selected = match &spec.target_refs {
            Some(targets) => Selected::Services(
                &name.namespace,
                targets.iter().map(|target| target.name.as_str()).collect(),
            ),
            None => Selected::Own(&name.namespace, spec.selector.as_ref()),
        };
        let object = ObjectRef::mesh("AccessPolicy", name.clone());
        all.extend(of_policy(objects, &object, spec.mode, spec.ingress.as_deref(), &selected));
    }
    for (name, policy) in &objects.cluster_access_policies {
        let Some(spec) = read::<ClusterAccessPolicySpec>(&policy.spec) else { continue };
        let object = ObjectRef::mesh("ClusterAccessPolicy", name.clone());
        let selected = Selected::Cluster(&spec.subject);
        all.extend(of_policy(objects, &object, spec.mode, spec.ingress.as_deref(), &selected));
    }
    all
}

fn read<T: DeserializeOwned>(spec: &Value) -> Option<T> {
    T::deserialize(spec).ok()
}

fn of_policy(
    objects: &Objects,
    object: &ObjectRef,
    mode: Mode,
    rules: Option<&[IngressRule]>,
    selected: &Selected<'_>,
) -> Vec<Hidden> {
    let by_address = |rule: &&IngressRule| {
        rule.action == Action::Allow && rule.from.iter().flatten().any(|entry| entry.cidrs.is_some())
    };
    let rules: Vec<(usize, &IngressRule)> =
        rules.into_iter().flatten().enumerate().filter(|(_, rule)| by_address(rule)).collect();
    if rules.is_empty() || mode == Mode::Off {
        return Vec::new();
    }
    let services: Vec<String> = objects
        .services
        .iter()
        .filter(|(name, service)| hides_clients(service) && is_before(objects, name, service, selected))
        .map(|(name, _)| name.to_string())
        .collect();
    if services.is_empty() {
        return Vec::new();
    }
    let told = |(index, rule): &(usize, &IngressRule)| Hidden {
        object: object.clone(),
        message: format!(
            "spec.ingress[{index}].from: rule `{}` allows by address, and through Service {} a pod sees a node's address instead of the client's; set externalTrafficPolicy: Local there, or allow the nodes' addresses and know that this is everybody who reaches them",
            rule.name.as_deref().unwrap_or("without a name"),
            services.join(", ")
        ),
    };
    rules.iter().map(told).collect()
}

/// Whether the Service takes traffic from outside and hands it on in a node's name.
fn hides_clients(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let from_outside = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    from_outside && spec.external_traffic_policy.as_deref() != Some("Local")
}

/// Whether the Service leads to a pod that is selected.
fn is_before(objects: &Objects, name: &ObjectName, service: &Service, selected: &Selected<'_>) -> bool {
    if let Selected::Services(namespace, names) = selected {
        return name.namespace == *namespace && names.contains(name.name.as_str());
    }
    let labels = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(wanted) = labels.filter(|labels| !labels.is_empty()) else { return false };
    objects.pods.iter().any(|(pod, object)| {
        let none = BTreeMap::new();
        let labels = object.metadata.labels.as_ref().unwrap_or(&none);
        pod.namespace == name.namespace
            && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            && selects(objects, selected, &pod.namespace, labels)
    })
}

fn selects(
    objects: &Objects,
    selected: &Selected<'_>,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let holds =
        |selector: Option<&LabelSelector>, labels| selector.is_none_or(|selector| selector.matches(labels));
    match selected {
        Selected::Own(own, selector) => *own == namespace && holds(*selector, labels),
        Selected::Services(..) => false,
        Selected::Cluster(subject) => {
            let given = objects.namespaces.get(&ObjectName::cluster(namespace));
            let own = given.and_then(|namespace| namespace.metadata.labels.clone()).unwrap_or_default();
            holds(subject.namespaces.as_ref(), &own) && holds(subject.pods.as_ref(), labels)
        }
    }
}
