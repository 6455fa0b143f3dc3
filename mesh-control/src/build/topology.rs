//! Which backends a node should use: the hints, as the endpoint slice controller gives them, and
//! the choice, as kube-proxy makes it (Kubernetes 1.34, `CategorizeEndpoints`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;

use super::{
    backends::{Backend, State},
    node::Nodes,
};

/// How a Service wants its connections distributed over zones and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// Evenly over everything.
    Anywhere,
    /// Within the client's zone.
    SameZone,
    /// On the client's node, else within its zone.
    SameNode,
    /// Over the zones in the proportion of their CPUs (`topology-mode: Auto`).
    Proportional,
}

impl Distribution {
    /// The annotation goes before the field, as in Kubernetes.
    pub(super) fn of(service: &Service) -> Self {
        let annotations = service.metadata.annotations.as_ref();
        let mode = annotations.and_then(|annotations| annotations.get("service.kubernetes.io/topology-mode"));
        let field = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
        match (mode.map(String::as_str), field) {
            (Some("Auto" | "auto"), _) => Self::Proportional,
            (_, Some("PreferClose" | "PreferSameZone")) => Self::SameZone,
            (_, Some("PreferSameNode")) => Self::SameNode,
            _ => Self::Anywhere,
        }
    }
}

/// A zone may carry this much more than its share before hints are given up.
const OVERLOAD: f64 = 1.2;

/// Gives hints to the backends that pods are.
pub(super) fn give_hints(backends: &mut [Backend], distribution: Distribution, nodes: &Nodes) {
    match distribution {
        Distribution::Anywhere => {}
        Distribution::SameZone | Distribution::SameNode => {
            for backend in backends.iter_mut() {
                if !backend.zone.is_empty() {
                    backend.for_zones.insert(backend.zone.clone());
                }
                if distribution == Distribution::SameNode && !backend.node.is_empty() {
                    backend.for_nodes.insert(backend.node.clone());
                }
            }
        }
        Distribution::Proportional => give_proportional_hints(backends, nodes),
    }
}

/// Every zone keeps its own backends; zones with fewer than their share get the surplus of
/// others. No hints where that cannot work: one zone, an unknown zone, too few backends.
fn give_proportional_hints(backends: &mut [Backend], nodes: &Nodes) {
    let mut cpus: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, node) in nodes.iter() {
        if node.zone.is_empty() {
            return;
        }
        *cpus.entry(&node.zone).or_default() += node.cpu.unwrap_or(1.0);
    }
    let ready: Vec<usize> =
        (0..backends.len()).filter(|index| backends[*index].state == State::Ready).collect();
    let total: f64 = cpus.values().sum();
    let mut held: BTreeMap<&str, Vec<usize>> = cpus.keys().map(|zone| (*zone, Vec::new())).collect();
    for index in &ready {
        match held.get_mut(backends[*index].zone.as_str()) {
            Some(indexes) => indexes.push(*index),
            None => return,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of endpoints are far below 2^52")]
    let shares: BTreeMap<&str, f64> =
        cpus.iter().map(|(zone, cpu)| (*zone, ready.len() as f64 * cpu / total)).collect();
    let least = |zone: &str| (shares[zone] / OVERLOAD).ceil();
    #[expect(clippy::cast_precision_loss, reason = "counts of endpoints are far below 2^52")]
    let count = |indexes: &[usize]| indexes.len() as f64;
    let needed: f64 = cpus.keys().map(|zone| least(zone)).sum();
    if cpus.len() < 2 || ready.len() < cpus.len() || needed > count(&ready) {
        return;
    }
    let zones: Vec<&str> = cpus.keys().copied().collect();
    for zone in &zones {
        while count(&held[zone]) < least(zone) {
            let richest = zones
                .iter()
                .filter(|other| count(&held[*other]) > least(other))
                .max_by(|a, b| (count(&held[*a]) - shares[*a]).total_cmp(&(count(&held[*b]) - shares[*b])));
            let Some(given) = richest.and_then(|richest| held.get_mut(richest)?.pop()) else { return };
            held.entry(zone).or_default().push(given);
        }
    }
    let hints: Vec<(usize, String)> = held
        .into_iter()
        .flat_map(|(zone, indexes)| indexes.into_iter().map(move |index| (index, zone.to_owned())))
        .collect();
    for (index, zone) in hints {
        backends[index].for_zones = BTreeSet::from([zone]);
    }
}

/// The backends that clients on a node use: ready ones that the hints leave, else those that are
/// shutting down and still serve.
pub(super) fn for_cluster<'a>(backends: &'a [Backend], node: &str, zone: &str) -> Vec<&'a Backend> {
    let ready = || backends.iter().filter(|backend| backend.state == State::Ready);
    let all_hinted =
        |hints: fn(&Backend) -> &BTreeSet<String>| ready().all(|backend| !hints(backend).is_empty());
    let hinted = |hints: fn(&Backend) -> &BTreeSet<String>, place: &str| -> Vec<&'a Backend> {
        if all_hinted(hints) {
            ready().filter(|backend| hints(backend).contains(place)).collect()
        } else {
            Vec::new()
        }
    };
    // Hints count only if every ready backend has one and some backend is meant for this place.
    let chosen = [hinted(|backend| &backend.for_nodes, node), hinted(|backend| &backend.for_zones, zone)];
    let chosen = chosen.into_iter().find(|chosen| !chosen.is_empty()).unwrap_or_else(|| ready().collect());
    or_draining(chosen, backends)
}

/// The same among the backends on the node itself.
pub(super) fn for_node<'a>(backends: &'a [Backend], node: &str) -> Vec<&'a Backend> {
    let local = || backends.iter().filter(|backend| !node.is_empty() && backend.node == node);
    let ready: Vec<_> = local().filter(|backend| backend.state == State::Ready).collect();
    if ready.is_empty() {
        local().filter(|backend| backend.state == State::Draining).collect()
    } else {
        ready
    }
}

fn or_draining<'a>(chosen: Vec<&'a Backend>, backends: &'a [Backend]) -> Vec<&'a Backend> {
    if chosen.is_empty() {
        backends.iter().filter(|backend| backend.state == State::Draining).collect()
    } else {
        chosen
    }
}
