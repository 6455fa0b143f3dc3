//! What a question about a connection may name: pods, Services, addresses.

use std::net::IpAddr;

use super::AdminError;
use crate::relay::desired::Desired;
use crate::relay::resource::{Protocol, Service, Workload};

/// Something that can be dialled, with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialled {
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The port, where the name implies one.
    pub port: Option<u16>,
}

/// The addresses of a source: an address, or a pod `<namespace>/<name>`.
pub(super) fn source(desired: &Desired, name: &str) -> Result<Vec<IpAddr>, AdminError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let pod = pod(desired, name).ok_or_else(|| AdminError::Unknown { what: "pod", name: name.to_owned() })?;
    Ok(v4_first(pod.addresses.clone()))
}

/// The addresses of a destination: an address, a pod `<namespace>/<name>`, or a Service
/// `svc/<namespace>/<name>` (also without the "svc/", where no pod has the name).
pub(super) fn destination(
    desired: &Desired,
    name: &str,
    port: Option<u16>,
    protocol: Protocol,
) -> Result<Dialled, AdminError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Dialled { addresses: vec![address], port });
    }
    let (service_name, only_service) = match name.strip_prefix("svc/") {
        Some(name) => (name, true),
        None => (name, false),
    };
    if !only_service && let Some(pod) = pod(desired, name) {
        return Ok(Dialled { addresses: v4_first(pod.addresses.clone()), port });
    }
    let service = desired
        .services()
        .find(|service| is_named(service_name, &service.namespace, &service.name))
        .ok_or_else(|| AdminError::Unknown {
            what: if only_service { "Service" } else { "pod or Service" },
            name: name.to_owned(),
        })?;
    let port = port.map_or_else(|| only_port(service, protocol), Ok)?;
    Ok(Dialled { addresses: v4_first(service.addresses.clone()), port: Some(port) })
}

/// The port of a Service that has just one of the protocol.
fn only_port(service: &Service, protocol: Protocol) -> Result<u16, AdminError> {
    let mut ports = service.ports.iter().filter(|port| port.protocol == protocol);
    match (ports.next(), ports.next()) {
        (Some(port), None) => Ok(port.port),
        (None, _) => Err(parameter_port("the Service has no port of this protocol")),
        (Some(_), Some(_)) => Err(parameter_port("the Service has several ports; name one")),
    }
}

/// A missing port.
pub(super) fn parameter_port(problem: &'static str) -> AdminError {
    AdminError::Parameter { name: "port", value: String::new(), problem }
}

/// A protocol by its name; TCP when none is given.
pub(super) fn protocol(name: &str) -> Result<Protocol, AdminError> {
    match name.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(AdminError::Parameter {
            name: "protocol",
            value: name.to_owned(),
            problem: "neither tcp nor udp",
        }),
    }
}

fn pod<'a>(desired: &'a Desired, name: &str) -> Option<&'a Workload> {
    desired.workloads().find(|workload| is_named(name, &workload.namespace, &workload.name))
}

fn is_named(text: &str, namespace: &str, name: &str) -> bool {
    text.split_once('/') == Some((namespace, name))
}

fn v4_first(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}
