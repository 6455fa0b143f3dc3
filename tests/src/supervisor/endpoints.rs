//! What the endpoints controllers would find: which addresses are behind each port of a Service. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServicePort},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::services::{addresses, is_usable};
use crate::{
    addresses::Pair,
    manifests::Key,
    node::{Endpoint, PortState, ServiceState},
};

/// The label by which a slice names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What matters of a pod here.
#[derive(Debug)]
pub(super) struct Backend<'a> {
    pub(super) pod: &'a Pod,
    pub(super) key: &'a Key,
    pub(super) addresses: Pair,
    pub(super) node: &'a str,
    pub(super) ready: bool,
}

/// The states of all Services.
pub(super) fn states(
    services: &BTreeMap<Key, Service>,
    backends: &[Backend<'_>],
    slices: &BTreeMap<Key, EndpointSlice>,
) -> Vec<ServiceState> {
    services.iter().map(|(key, service)| state(key, service, backends, slices)).collect()
}

fn state(
    key: &Key,
    service: &Service,
    backends: &[Backend<'_>],
    slices: &BTreeMap<Key, EndpointSlice>,
) -> ServiceState {
    let spec = service.spec.clone().unwrap_or_default();
    let external_name = spec.external_name.clone().filter(|_| spec.type_.as_deref() == Some("ExternalName"));
    let balanced = service.status.iter().flat_map(|status| {
        status.load_balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten())
    });
    let balanced: Vec<&String> = balanced
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref())
        .collect();
    let more = spec.external_ips.iter().flatten().chain(balanced).filter_map(|address| address.parse().ok());
    let mut all = addresses(&spec);
    all.extend(more.filter(|address| is_usable(*address)));
    let publish = spec.publish_not_ready_addresses == Some(true);
    let selector = spec.selector.clone().unwrap_or_default();
    let port = |port: &ServicePort| {
        let endpoints = if selector.is_empty() {
            let ours =
                slices.iter().filter(|(slice, _)| slice.namespace == key.namespace).map(|(_, slice)| slice);
            ours.filter(|slice| serves(slice, &key.name)).flat_map(|slice| of_slice(slice, port)).collect()
        } else {
            let selected = backends
                .iter()
                .filter(|backend| backend.key.namespace == key.namespace && selects(&selector, backend.pod));
            selected.flat_map(|backend| of_pod(backend, port, &key.name, publish)).collect()
        };
        Some(PortState {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
            port: u16::try_from(port.port).ok()?,
            node_port: port.node_port.and_then(|number| u16::try_from(number).ok()),
            endpoints,
        })
    };
    ServiceState {
        key: key.clone(),
        addresses: all,
        external_name,
        ports: spec
            .ports
            .iter()
            .flatten()
            .filter_map(port)
            .filter(|port| matches!(&*port.protocol, "tcp" | "udp"))
            .collect(),
    }
}

fn selects(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn of_pod(backend: &Backend<'_>, port: &ServicePort, service: &str, publish: bool) -> Vec<Endpoint> {
    let Some(number) = target_port(backend.pod, port) else { return Vec::new() };
    let spec = backend.pod.spec.as_ref();
    let in_domain = spec.is_some_and(|spec| spec.subdomain.as_deref() == Some(service));
    let hostname = spec.and_then(|spec| spec.hostname.clone()).unwrap_or_else(|| backend.key.name.clone());
    let endpoint = |address: IpAddr| Endpoint {
        address,
        port: number,
        hostname: in_domain.then(|| hostname.clone()),
        ready: backend.ready || publish,
        node: Some(backend.node.to_owned()),
    };
    backend.addresses.both().map(endpoint).to_vec()
}

/// The pod's port that a Service port leads to; named ports are looked up in the pod.
fn target_port(pod: &Pod, port: &ServicePort) -> Option<u16> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        Some(IntOrString::String(name)) => {
            let ports = pod
                .spec
                .iter()
                .flat_map(|spec| &spec.containers)
                .flat_map(|container| container.ports.iter().flatten());
            let mut same = ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol);
            same.find(|port| port.name.as_deref() == Some(name))
                .and_then(|port| u16::try_from(port.container_port).ok())
        }
        Some(IntOrString::Int(number)) if *number != 0 => u16::try_from(*number).ok(),
        _ => u16::try_from(port.port).ok(),
    }
}

fn serves(slice: &EndpointSlice, service: &str) -> bool {
    slice
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SERVICE_NAME_LABEL))
        .is_some_and(|name| name == service)
}

fn of_slice(slice: &EndpointSlice, port: &ServicePort) -> Vec<Endpoint> {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let same = slice.ports.iter().flatten().find(|candidate| {
        candidate.name.as_deref().unwrap_or_default() == name
            && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    let Some(number) = same.and_then(|port| port.port).and_then(|number| u16::try_from(number).ok()) else {
        return Vec::new();
    };
    let endpoints = slice.endpoints.iter().flat_map(|endpoint| {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
        endpoint.addresses.iter().filter_map(move |address| {
            Some(Endpoint {
                address: address.parse().ok()?,
                port: number,
                hostname: endpoint.hostname.clone(),
                ready,
                node: endpoint.node_name.clone(),
            })
        })
    });
    endpoints.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::Plan;

    fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
        serde_yaml_ng::from_str(text).unwrap()
    }

    #[test]
    fn named_ports_are_looked_up_in_each_pod_and_slices_by_label() {
        let pod: Pod = yaml(
            "{metadata: {name: a, namespace: n, labels: {app: a}}, spec: {containers: [{name: c, ports: [{name: web, containerPort: 8081}]}]}}",
        );
        let key = Key::new("n", "a");
        let pair = Plan::new(0).pod(1, 2);
        let backend = Backend { pod: &pod, key: &key, addresses: pair, node: "x", ready: false };
        let slice: EndpointSlice = yaml(
            "{addressType: IPv4, metadata: {name: s, namespace: n, labels: {kubernetes.io/service-name: by-hand}}, ports: [{port: 9}], endpoints: [{addresses: [192.0.2.1]}]}",
        );
        let services = BTreeMap::from([
            (
                Key::new("n", "named"),
                yaml(
                    "{spec: {clusterIP: 10.0.0.1, selector: {app: a}, ports: [{port: 80, targetPort: web}]}}",
                ),
            ),
            (Key::new("n", "by-hand"), yaml("{spec: {clusterIP: 10.0.0.2, ports: [{port: 80}]}}")),
        ]);
        let states = states(&services, &[backend], &BTreeMap::from([(Key::new("n", "s"), slice)]));
        let by_hand = &states[0].ports[0].endpoints;
        assert_eq!((by_hand.len(), by_hand[0].port, by_hand[0].ready), (1, 9, true));
        let named = &states[1].ports[0].endpoints;
        assert_eq!((named.len(), named[0].port, named[0].ready), (2, 8081, false));
    }
}
