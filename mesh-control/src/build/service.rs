//! A Service and everything behind it, before a node's view narrows it.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{core::v1, discovery::v1::EndpointSlice},
    apimachinery::pkg::util::intstr::IntOrString,
};
use mesh_api::{crd::Protocol, resources::AppProtocol};

use super::{
    app_protocol::app_protocol,
    backends::{Backend, from_pods, from_slice},
    node::Nodes,
    pod::PodView,
    pods::Pods,
    topology::{Distribution, give_hints},
};
use crate::objects::ObjectName;

/// Kubernetes' default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;
/// The annotation that, with the value `auto`, has the requests of a Service looked at without routes.
const BY_REQUEST: &str = "mesh.internal/l7";
/// The annotation that, with the value `round-robin`, has requests go to endpoints one after another.
const BALANCE: &str = "mesh.internal/load-balancing";

/// A Service and its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceView {
    pub(super) name: ObjectName,
    /// Something else serves its addresses, or it has none and stands for a DNS name.
    pub(super) skipped: bool,
    pub(super) cluster_addresses: Vec<IpAddr>,
    /// External and load-balancer addresses.
    pub(super) external_addresses: Vec<IpAddr>,
    pub(super) ports: Vec<PortView>,
    pub(super) affinity_seconds: u32,
    pub(super) internal_local: bool,
    pub(super) external_local: bool,
    /// The labels of its pods; nothing where slices are written by hand.
    pub(super) selector: Option<BTreeMap<String, String>>,
    /// Annotated so that requests are looked at wherever a port says that it has some.
    pub(super) by_request: bool,
    /// Annotated so that requests go to its endpoints in turn.
    pub(super) round_robin: bool,
    /// Labelled as the cluster's DNS.
    pub(super) labelled_dns: bool,
    families: Families,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortView {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// 0 for none.
    pub(super) node_port: u16,
    pub(super) target: Target,
    pub(super) app_protocol: AppProtocol,
    /// Everything behind the port, whatever its state.
    pub(super) backends: Vec<Backend>,
}

/// What a Service port leads to on a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Number(u16),
    Name(String),
}

impl Target {
    /// The number on this pod, never 0, if the pod has the port.
    pub(super) fn on(&self, pod: &PodView, protocol: Protocol) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number).filter(|number| *number != 0),
            Self::Name(name) => pod.named_ports.get(&(protocol, name.clone())).copied(),
        }
    }
}

/// The address families that a Service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    fn of(spec: &v1::ServiceSpec, cluster_addresses: &[IpAddr]) -> Self {
        let named = spec.ip_families.as_deref().unwrap_or_default();
        if !named.is_empty() {
            let has = |family| named.iter().any(|name| name == family);
            Self { v4: has("IPv4"), v6: has("IPv6") }
        } else if cluster_addresses.is_empty() {
            Self { v4: true, v6: true }
        } else {
            Self {
                v4: cluster_addresses.iter().any(IpAddr::is_ipv4),
                v6: cluster_addresses.iter().any(IpAddr::is_ipv6),
            }
        }
    }

    /// Whether an address is of one of them.
    pub(super) fn have(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

impl ServiceView {
    /// Reads a Service and gathers what is behind it: its slices and, where `select` says so, the
    /// pods that its selector matches.
    pub(super) fn of<'a>(
        name: &ObjectName,
        service: &v1::Service,
        slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
        select: bool,
        pods: &Pods,
        nodes: &Nodes,
    ) -> Self {
        let mut view = Self::frontend(name, service);
        let selector = view.selector.as_ref().filter(|_| select);
        let selected = selector.map(|labels| pods.selected(&name.namespace, labels));
        let spec = service.spec.as_ref();
        let publish_not_ready = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
        let distribution = Distribution::of(service);
        for port in &mut view.ports {
            let mut backends = from_pods(
                selected.as_deref().unwrap_or_default(),
                &port.target,
                port.protocol,
                publish_not_ready,
                nodes,
            );
            backends.retain(|backend| view.families.have(backend.address));
            give_hints(&mut backends, distribution, nodes);
            for slice in slices.clone() {
                backends.extend(from_slice(slice, &port.name, port.protocol, pods));
            }
            backends.sort();
            backends.dedup_by_key(|backend| (backend.address, backend.port));
            port.backends = backends;
        }
        view
    }

    fn frontend(name: &ObjectName, service: &v1::Service) -> Self {
        let default_spec = v1::ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&default_spec);
        let labels = service.metadata.labels.as_ref();
        let annotations = service.metadata.annotations.as_ref();
        let proxied =
            labels.is_some_and(|labels| labels.contains_key("service.kubernetes.io/service-proxy-name"));
        let named: Vec<&String> = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).collect();
        let mut cluster_addresses = parse_all(named);
        cluster_addresses.dedup();
        let families = Families::of(spec, &cluster_addresses);
        let ingress = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
        let ingress = ingress.flat_map(|balancer| balancer.ingress.iter().flatten());
        let of_mode_vip = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let external =
            spec.external_ips.iter().flatten().chain(of_mode_vip.filter_map(|ingress| ingress.ip.as_ref()));
        let mut external_addresses = parse_all(external);
        external_addresses.retain(|address| families.have(*address));
        let affinity_seconds = match spec.session_affinity.as_deref() {
            Some("ClientIP") => spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
                .and_then(|seconds| u32::try_from(seconds).ok())
                .unwrap_or(AFFINITY_SECONDS),
            _ => 0,
        };
        let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let annotated = |name: &str, wanted: &str| {
            annotations.and_then(|annotations| annotations.get(name)).is_some_and(|value| value == wanted)
        };
        Self {
            name: name.clone(),
            skipped: proxied || spec.type_.as_deref() == Some("ExternalName"),
            cluster_addresses,
            external_addresses,
            ports: spec.ports.iter().flatten().filter_map(port).collect(),
            affinity_seconds,
            internal_local: is_local(&spec.internal_traffic_policy),
            external_local: is_local(&spec.external_traffic_policy),
            selector: spec.selector.clone().filter(|selector| !selector.is_empty()),
            by_request: annotated(BY_REQUEST, "auto"),
            round_robin: annotated(BALANCE, "round-robin"),
            labelled_dns: labels
                .and_then(|labels| labels.get("k8s-app"))
                .is_some_and(|app| app == "kube-dns"),
            families,
        }
    }

    /// Whether nodes may see it differently.
    pub(super) fn depends_on_node(&self) -> bool {
        let hinted = |backend: &Backend| !backend.for_zones.is_empty() || !backend.for_nodes.is_empty();
        let backends = self.ports.iter().flat_map(|port| &port.backends);
        self.internal_local || self.external_local || backends.into_iter().any(hinted)
    }

    /// Whether an address is of one of its families.
    pub(super) fn has_family_of(&self, address: IpAddr) -> bool {
        self.families.have(address)
    }

    /// The ports that a pod of it serves it on, however they are dialled (SEMANTICS 5.2);
    /// nothing where the pod is not one of its pods.
    pub(super) fn target_ports(&self, pod: &PodView) -> Option<Vec<(Protocol, u16)>> {
        if let Some(selector) = &self.selector
            && pod.name.namespace == self.name.namespace
            && super::pods::has_all(&pod.labels, selector)
        {
            let ports = self
                .ports
                .iter()
                .filter_map(|port| Some((port.protocol, port.target.on(pod, port.protocol)?)));
            return Some(ports.collect());
        }
        let ports: Vec<_> = self
            .ports
            .iter()
            .flat_map(|port| port.backends.iter().map(move |backend| (port.protocol, backend)))
            .filter(|(_, backend)| pod.addresses.contains(&backend.address))
            .map(|(protocol, backend)| (protocol, backend.port))
            .collect();
        (!ports.is_empty()).then_some(ports)
    }
}

/// A port, unless its protocol is one that the mesh does not carry (SCTP).
fn port(port: &v1::ServicePort) -> Option<PortView> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(_) => return None,
    };
    let number = u16::try_from(port.port).ok().filter(|number| *number != 0)?;
    let target = match &port.target_port {
        None => Target::Number(number),
        Some(IntOrString::Int(0)) => Target::Number(number),
        Some(IntOrString::Int(target)) => Target::Number(u16::try_from(*target).ok()?),
        Some(IntOrString::String(name)) => {
            name.parse().map_or_else(|_| Target::Name(name.clone()), Target::Number)
        }
    };
    let name = port.name.clone().unwrap_or_default();
    Some(PortView {
        app_protocol: app_protocol(port.app_protocol.as_deref(), &name),
        name,
        protocol,
        port: number,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        target,
        backends: Vec::new(),
    })
}

/// The addresses among texts such as `None`, each once.
fn parse_all<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in texts.into_iter().filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
