//! What the API server adds to a Service: its cluster addresses and node ports.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    addresses::{Numbers, Plan},
    manifests::Key,
};

/// Kubernetes' default range of node ports.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// Says that another proxy than the usual one serves a Service (KEP-2447 and kube-proxy's own flag): here, the node.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// The cluster DNS Service.
pub(super) fn dns_key() -> Key {
    Key::new("kube-system", "kube-dns")
}

/// Hands out addresses and ports; a Service keeps its own for as long as it is there.
#[derive(Debug)]
pub(super) struct Allocator {
    plan: Plan,
    numbers: Numbers,
    node_ports: Numbers,
    held: BTreeMap<Key, Held>,
}

#[derive(Debug, Default)]
struct Held {
    number: Option<u16>,
    node_ports: BTreeMap<(String, i32), u16>,
}

impl Allocator {
    /// An allocator of this plan's addresses; the first few are reserved.
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            numbers: Numbers::new(16, 4095),
            node_ports: Numbers::new(NODE_PORTS.0, NODE_PORTS.1),
            held: BTreeMap::new(),
        }
    }

    /// Completes every Service, and gives back what belonged to those that are gone.
    pub(super) fn complete(&mut self, services: &BTreeMap<Key, Service>) -> BTreeMap<Key, Service> {
        let gone: Vec<Key> = self.held.keys().filter(|key| !services.contains_key(*key)).cloned().collect();
        for held in gone.iter().filter_map(|key| self.held.remove(key)) {
            held.number.into_iter().for_each(|number| self.numbers.release(number));
            held.node_ports.values().for_each(|port| self.node_ports.release(*port));
        }
        // Those that ask for a port of their own come first.
        for (key, service) in services {
            for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                if let Some(number) = port.node_port.and_then(|number| u16::try_from(number).ok())
                    && self.node_ports.reserve(number)
                {
                    self.held.entry(key.clone()).or_default().node_ports.insert(port_key(port), number);
                }
            }
        }
        let mut complete: BTreeMap<Key, Service> =
            services.iter().map(|(key, service)| (key.clone(), self.complete_one(key, service))).collect();
        complete.entry(dns_key()).or_insert_with(|| dns_service(self.plan));
        complete
    }

    fn complete_one(&mut self, key: &Key, service: &Service) -> Service {
        let mut service = service.clone();
        let spec = service.spec.get_or_insert_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            return service;
        }
        let held = self.held.entry(key.clone()).or_default();
        if addresses(spec).is_empty() && !is_headless(spec) {
            let pair = if *key == dns_key() {
                Some(self.plan.dns())
            } else {
                held.number = held.number.or_else(|| self.numbers.take());
                held.number.map(|number| self.plan.service(number))
            };
            let of_family = |family: &str| {
                pair.map(|pair| if family == "IPv6" { IpAddr::V6(pair.v6) } else { pair.v4.into() })
            };
            let chosen: Vec<IpAddr> = families(spec).iter().filter_map(|family| of_family(family)).collect();
            set_addresses(spec, &chosen);
        } else if !is_headless(spec) {
            let chosen = addresses(spec);
            set_addresses(spec, &chosen);
        }
        if matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer")) {
            for port in spec.ports.iter_mut().flatten().filter(|port| port.node_port.unwrap_or(0) == 0) {
                let known = held.node_ports.get(&port_key(port)).copied().or_else(|| self.node_ports.take());
                if let Some(number) = known {
                    held.node_ports.insert(port_key(port), number);
                    port.node_port = Some(number.into());
                }
            }
        }
        service
    }
}

/// The cluster addresses of a Service, none if it is headless.
pub(super) fn addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut all: Vec<IpAddr> = Vec::new();
    for address in listed.filter_map(|address| address.parse().ok()) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Whether the Service has no address by its own wish.
pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
        || spec.cluster_ips.iter().flatten().any(|address| address == "None")
}

/// Both families unless the Service asks for fewer: the testbed's default policy is `PreferDualStack`.
fn families(spec: &ServiceSpec) -> Vec<String> {
    let mut families = spec.ip_families.clone().unwrap_or_default();
    let single = match spec.ip_family_policy.as_deref() {
        Some(policy) => policy == "SingleStack",
        None => families.len() == 1,
    };
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    if single {
        families.truncate(1);
    } else if families.len() == 1 {
        families.push(if families[0] == "IPv6" { "IPv4" } else { "IPv6" }.to_owned());
    }
    families
}

fn set_addresses(spec: &mut ServiceSpec, addresses: &[IpAddr]) {
    let family = |address: &IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned();
    spec.cluster_ip = addresses.first().map(ToString::to_string);
    spec.cluster_ips = Some(addresses.iter().map(ToString::to_string).collect());
    spec.ip_families = Some(addresses.iter().map(family).collect());
}

fn port_key(port: &ServicePort) -> (String, i32) {
    (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.port)
}

/// The cluster DNS Service as it is where no manifest has one.
fn dns_service(plan: Plan) -> Service {
    let port = |name: &str, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: 53,
        ..ServicePort::default()
    };
    let mut spec = ServiceSpec {
        ports: Some(vec![port("dns", "UDP"), port("dns-tcp", "TCP")]),
        ..ServiceSpec::default()
    };
    set_addresses(&mut spec, &plan.dns().both());
    let Key { namespace, name } = dns_key();
    let labels = BTreeMap::from([(PROXY_NAME_LABEL.to_owned(), "mesh-testbed-node".to_owned())]);
    Service {
        metadata: ObjectMeta {
            namespace: Some(namespace),
            name: Some(name),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// Addresses that no Service may mean anything else by.
pub(super) fn is_usable(address: IpAddr) -> bool {
    address != IpAddr::V4(Ipv4Addr::UNSPECIFIED) && address != IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: ServiceSpec) -> Service {
        Service { spec: Some(spec), ..Service::default() }
    }

    fn complete(allocator: &mut Allocator, spec: ServiceSpec) -> ServiceSpec {
        let key = Key::new("n", "s");
        let all = allocator.complete(&BTreeMap::from([(key.clone(), service(spec))]));
        all[&key].spec.clone().unwrap()
    }

    #[test]
    fn addresses_are_given_by_family_policy_and_kept() {
        let mut allocator = Allocator::new(Plan::new(0));
        let dual = complete(&mut allocator, ServiceSpec::default());
        assert_eq!(dual.cluster_ips.as_ref().unwrap().len(), 2);
        assert_eq!(complete(&mut allocator, ServiceSpec::default()), dual);
        let ipv6 = ServiceSpec { ip_families: Some(vec!["IPv6".to_owned()]), ..ServiceSpec::default() };
        assert_eq!(complete(&mut allocator, ipv6).ip_families, Some(vec!["IPv6".to_owned()]));
        let fixed = ServiceSpec { cluster_ip: Some("10.96.0.7".to_owned()), ..ServiceSpec::default() };
        assert_eq!(complete(&mut allocator, fixed).cluster_ips, Some(vec!["10.96.0.7".to_owned()]));
        let headless = ServiceSpec { cluster_ip: Some("None".to_owned()), ..ServiceSpec::default() };
        assert_eq!(addresses(&complete(&mut allocator, headless)), Vec::<IpAddr>::new());
    }

    #[test]
    fn node_ports_avoid_those_asked_for() {
        let mut allocator = Allocator::new(Plan::new(0));
        let port = |number: i32, node_port| ServicePort { port: number, node_port, ..ServicePort::default() };
        let spec = ServiceSpec {
            type_: Some("NodePort".to_owned()),
            ports: Some(vec![port(1, None), port(2, Some(30_000))]),
            ..ServiceSpec::default()
        };
        let ports: Vec<_> =
            complete(&mut allocator, spec).ports.unwrap().iter().map(|port| port.node_port).collect();
        assert_eq!(ports, [Some(30_001), Some(30_000)]);
    }
}
