//! Lays what the kubelet part reports over the manifests: addresses, UIDs, readiness.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Node, Pod, Service, ServicePort},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::objects::{ObjectName, Objects};

/// Remembers the overlaid objects, so that they keep their pointers while both sides stay the
/// same, and the manifests of pods that still run after theirs was taken away.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pods: Memo<Pod>,
    services: Memo<Service>,
    nodes: Memo<Node>,
    last_pods: BTreeMap<ObjectName, Arc<Pod>>,
    departed: BTreeMap<ObjectName, Arc<Pod>>,
}

/// Overlaid objects by name, with what they were made from.
type Memo<T> = BTreeMap<ObjectName, Made<T>>;

/// Lays what is reported, the second, over the manifest.
type Make<T> = fn(Option<&Arc<T>>, Option<&Arc<T>>) -> Option<Arc<T>>;

#[derive(Debug)]
struct Made<T> {
    base: Option<Arc<T>>,
    reported: Option<Arc<T>>,
    object: Arc<T>,
}

/// Label on a Service whose addresses something else than the mesh serves.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

impl Overlay {
    /// The manifests `base` under what was `reported` of them.
    pub(super) fn apply(&mut self, base: &Objects, reported: &Objects) -> Objects {
        self.keep_departed(base, reported);
        let mut pods = base.pods.clone();
        pods.extend(self.departed.iter().map(|(name, pod)| (name.clone(), pod.clone())));
        // What a Deployment and the like were expanded to is in the report only, and there whole.
        let expanded = reported.pods.iter().filter(|(name, pod)| !pods.contains_key(*name) && is_whole(pod));
        let expanded = expanded.map(|(name, pod)| (name, None, Some(pod)));
        let pods = pods.iter().map(|(name, pod)| (name, Some(pod), reported.pods.get(name))).chain(expanded);
        let pods = overlaid(&mut self.pods, pods, pod);

        let services =
            base.services.iter().map(|(name, service)| (name, Some(service), reported.services.get(name)));
        // The cluster's own DNS Service may exist in the report only.
        let system = reported
            .services
            .iter()
            .filter(|(name, _)| name.namespace == "kube-system" && !base.services.contains_key(name));
        let services = services.chain(system.map(|(name, service)| (name, None, Some(service))));
        let services = overlaid(&mut self.services, services, service);

        let nodes = base.nodes.iter().map(|(name, node)| (name, Some(node), reported.nodes.get(name)));
        let only = reported.nodes.iter().filter(|(name, _)| !base.nodes.contains_key(name));
        let nodes = nodes.chain(only.map(|(name, node)| (name, None, Some(node))));
        let nodes = overlaid(&mut self.nodes, nodes, node);
        Objects { pods, services, nodes, ..base.clone() }
    }

    /// A pod whose manifest was taken away runs until the kubelet part has ended it, and is what
    /// it was until then.
    fn keep_departed(&mut self, base: &Objects, reported: &Objects) {
        for (name, pod) in std::mem::replace(&mut self.last_pods, base.pods.clone()) {
            self.departed.entry(name).or_insert(pod);
        }
        self.departed.retain(|name, _| !base.pods.contains_key(name) && reported.pods.contains_key(name));
        for pod in self.departed.values_mut() {
            if pod.metadata.deletion_timestamp.is_none() {
                Arc::make_mut(pod).metadata.deletion_timestamp =
                    Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
            }
        }
    }
}

fn overlaid<'a, T: 'a>(
    memo: &mut Memo<T>,
    sides: impl Iterator<Item = (&'a ObjectName, Option<&'a Arc<T>>, Option<&'a Arc<T>>)>,
    make: Make<T>,
) -> BTreeMap<ObjectName, Arc<T>> {
    let mut last = std::mem::take(memo);
    for (name, base, reported) in sides {
        let same = |a: &Option<Arc<T>>, b: Option<&Arc<T>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let kept = last.remove(name).filter(|made| same(&made.base, base) && same(&made.reported, reported));
        let made = kept.or_else(|| {
            make(base, reported).map(|object| Made {
                base: base.cloned(),
                reported: reported.cloned(),
                object,
            })
        });
        if let Some(made) = made {
            memo.insert(name.clone(), made);
        }
    }
    memo.iter().map(|(name, made)| (name.clone(), made.object.clone())).collect()
}

/// A pod of which nothing is reported is not scheduled: what its manifest says of UID and status
/// (a dump of some other cluster) is not so here.
fn pod(base: Option<&Arc<Pod>>, reported: Option<&Arc<Pod>>) -> Option<Arc<Pod>> {
    let Some(base) = base else { return reported.cloned() };
    let mut pod = Pod::clone(base);
    pod.metadata.uid = reported.and_then(|reported| reported.metadata.uid.clone());
    pod.status = reported.and_then(|reported| reported.status.clone());
    let ending = reported.and_then(|reported| reported.metadata.deletion_timestamp.clone());
    // The departed bring theirs.
    pod.metadata.deletion_timestamp =
        ending.or(pod.metadata.deletion_timestamp.filter(|_| reported.is_some()));
    let node = reported.and_then(|reported| reported.spec.as_ref()?.node_name.clone());
    if let (Some(spec), Some(node)) = (pod.spec.as_mut(), node) {
        spec.node_name = Some(node);
    }
    Some(Arc::new(pod))
}

/// Whether a reported pod says what it runs; one that lies over a manifest does not.
fn is_whole(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| !spec.containers.is_empty())
}

fn service(base: Option<&Arc<Service>>, reported: Option<&Arc<Service>>) -> Option<Arc<Service>> {
    let Some(base) = base else {
        let mut service = Service::clone(reported?);
        let labels = service.metadata.labels.get_or_insert_default();
        labels.entry(SERVICE_PROXY_NAME.to_owned()).or_insert_with(|| "node".to_owned());
        return Some(Arc::new(service));
    };
    let Some(from) = reported.and_then(|reported| reported.spec.as_ref()) else {
        return Some(base.clone());
    };
    let mut service = Service::clone(base);
    let spec = service.spec.get_or_insert_default();
    // What was given may be more than what was asked for: a second family, say.
    spec.cluster_ip = from.cluster_ip.clone().or(spec.cluster_ip.take());
    spec.cluster_ips = from.cluster_ips.clone().or(spec.cluster_ips.take());
    spec.ip_families = from.ip_families.clone().or(spec.ip_families.take());
    for port in spec.ports.iter_mut().flatten() {
        let key = |port: &ServicePort| (port.port, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()));
        let given = from.ports.iter().flatten().find(|given| key(given) == key(port));
        port.node_port = given.and_then(|given| given.node_port).or(port.node_port);
    }
    Some(Arc::new(service))
}

fn node(base: Option<&Arc<Node>>, reported: Option<&Arc<Node>>) -> Option<Arc<Node>> {
    let (Some(base), Some(reported)) = (base, reported) else {
        return base.or(reported).cloned();
    };
    let mut node = Node::clone(base);
    let labels = node.metadata.labels.get_or_insert_default();
    for (key, value) in reported.metadata.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let addresses = reported.status.as_ref().and_then(|status| status.addresses.clone());
    node.status.get_or_insert_default().addresses = addresses;
    Some(Arc::new(node))
}
