//! What is behind a Service's port: from its pods, and from endpoint slices written by hand.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use mesh_api::crd::Protocol;

use super::{enrol::Enrolment, node::Nodes, pod::PodView, pods::Pods, service::Target};

/// Label of an endpoint slice that names its Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An address and port behind a Service.
///
/// The order puts the more usable of two with the same address and port first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) state: State,
    /// Its address is an enrolled pod's.
    pub(super) enrolled: bool,
    /// The node it is on; empty when that is not known.
    pub(super) node: String,
    /// The zone it is in; empty when that is not known.
    pub(super) zone: String,
    /// Zones whose nodes should use it; empty for no hint.
    pub(super) for_zones: BTreeSet<String>,
    /// Nodes that should use it; empty for no hint.
    pub(super) for_nodes: BTreeSet<String>,
}

/// Whether a backend takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It does.
    Ready,
    /// It is shutting down and still does: used where none is ready.
    Draining,
    /// It does not.
    Unready,
}

/// The backends that a Service's pods are, one an address.
pub(super) fn from_pods(
    pods: &[&Arc<PodView>],
    target: &Target,
    protocol: Protocol,
    publish_not_ready: bool,
    nodes: &Nodes,
) -> Vec<Backend> {
    let mut backends = Vec::new();
    for pod in pods.iter().filter(|pod| pod.is_live()) {
        let Some(port) = target.on(pod, protocol) else { continue };
        let state = match (pod.ready, pod.terminating) {
            _ if publish_not_ready => State::Ready,
            (true, false) => State::Ready,
            (true, true) => State::Draining,
            (false, _) => State::Unready,
        };
        backends.extend(pod.addresses.iter().map(|address| Backend {
            address: *address,
            port,
            state,
            enrolled: pod.enrolment == Enrolment::Enrolled,
            node: pod.node.clone(),
            zone: nodes.zone(&pod.node).to_owned(),
            for_zones: BTreeSet::new(),
            for_nodes: BTreeSet::new(),
        }));
    }
    backends
}

/// The backends that a slice gives the Service port of this name.
pub(super) fn from_slice(slice: &EndpointSlice, name: &str, protocol: Protocol, pods: &Pods) -> Vec<Backend> {
    let ports: Vec<u16> = slice
        .ports
        .iter()
        .flatten()
        .filter(|port| port.name.as_deref().unwrap_or("") == name)
        .filter(|port| match port.protocol.as_deref() {
            None | Some("TCP") => protocol == Protocol::Tcp,
            Some("UDP") => protocol == Protocol::Udp,
            Some(_) => false,
        })
        .filter_map(|port| u16::try_from(port.port?).ok().filter(|number| *number != 0))
        .collect();
    let endpoints = slice.endpoints.iter();
    endpoints.flat_map(|endpoint| ports.iter().flat_map(|port| of_endpoint(endpoint, *port, pods))).collect()
}

/// The addresses of an endpoint, as far as they are any.
pub(super) fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.addresses.iter().filter_map(|address| address.parse().ok())
}

fn of_endpoint(endpoint: &Endpoint, port: u16, pods: &Pods) -> impl Iterator<Item = Backend> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    let state = match (ready, serving && terminating) {
        (true, _) => State::Ready,
        (false, true) => State::Draining,
        (false, false) => State::Unready,
    };
    let hints = endpoint.hints.clone().unwrap_or_default();
    let for_zones: BTreeSet<String> = hints.for_zones.into_iter().flatten().map(|hint| hint.name).collect();
    let for_nodes: BTreeSet<String> = hints.for_nodes.into_iter().flatten().map(|hint| hint.name).collect();
    let backend = move |address| Backend {
        address,
        port,
        state,
        enrolled: pods.is_enrolled_at(address),
        node: endpoint.node_name.clone().unwrap_or_default(),
        zone: endpoint.zone.clone().unwrap_or_default(),
        for_zones: for_zones.clone(),
        for_nodes: for_nodes.clone(),
    };
    // The addresses of one endpoint are one and the same: kube-proxy takes the first.
    addresses(endpoint).take(1).map(backend)
}
