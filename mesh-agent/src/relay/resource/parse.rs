//! From the bytes of a stream to resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::resources as wire;
use mesh_api::{NodeId, NodeTag};
use prost::Message;
use rustls::pki_types::CertificateDer;

use super::error::Fault;
use super::field::{address, indexed, port};
use super::policy::{Protocol, parse_pod_policy};
use super::routes::{app_protocol, parse_routes};
use super::{
    AccessLog, Invalid, Kind, Local, LogFormat, LogLevel, NodeConfig, Resource, Service, ServicePort,
    Workload,
};
use crate::handover::EndpointEntry;
use crate::relay::tls::Bundle;

/// Parses the body of the resource `name` of type `kind`.
///
/// # Errors
/// Names the first field that cannot be taken, and its value.
pub(crate) fn parse(kind: Kind, name: &str, body: &[u8]) -> Result<Resource, Invalid> {
    let parsed = match kind {
        Kind::NodeConfig => decode(body).and_then(node_config).map(Resource::NodeConfig),
        Kind::TrustBundle => decode(body).and_then(trust_bundle).map(Arc::new).map(Resource::TrustBundle),
        Kind::PodPolicy => decode(body).and_then(parse_pod_policy).map(Resource::PodPolicy),
        Kind::Workload => decode(body).and_then(workload).map(Resource::Workload),
        Kind::Service => decode(body).and_then(service).map(Resource::Service),
        Kind::ServiceRoutes => decode(body).and_then(parse_routes).map(Arc::new).map(Resource::ServiceRoutes),
    };
    parsed.map_err(|fault| fault.of(kind, name))
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Fault> {
    M::decode(body)
        .map_err(|_| Fault::new("body", format!("{} bytes", body.len()), "not a message of this type"))
}

fn node_config(message: wire::NodeConfig) -> Result<NodeConfig, Fault> {
    if message.trust_domain.is_empty() {
        return Err(Fault::new("trust_domain", "empty", "identities need a trust domain"));
    }
    let log = message.access_log.unwrap_or_default();
    let format = match wire::access_log::Format::try_from(log.format) {
        Ok(wire::access_log::Format::Json) => LogFormat::Json,
        Ok(wire::access_log::Format::Text) => LogFormat::Text,
        Err(_) => return Err(Fault::new("access_log.format", log.format, "no format this agent knows")),
    };
    let level = match wire::access_log::Level::try_from(log.level) {
        Ok(wire::access_log::Level::Denied) => LogLevel::Denied,
        Ok(wire::access_log::Level::All) => LogLevel::All,
        Ok(wire::access_log::Level::Off) => LogLevel::Off,
        Err(_) => return Err(Fault::new("access_log.level", log.level, "no level this agent knows")),
    };
    Ok(NodeConfig {
        trust_domain: message.trust_domain,
        unknown_closed: message.unknown_closed,
        access_log: AccessLog { format, level },
        mesh_config_generation: message.mesh_config_generation,
    })
}

/// A bundle that believes nobody is refused: the last good one goes on counting.
fn trust_bundle(message: wire::TrustBundle) -> Result<Bundle, Fault> {
    if NodeId::new(&message.trust_domain, "x").is_err() {
        return Err(Fault::new("trust_domain", &message.trust_domain, "not a SPIFFE trust domain"));
    }
    if message.roots.is_empty() {
        return Err(Fault::new("roots", "empty", "without a root nobody can be believed"));
    }
    let revoked = indexed("revoked", message.revoked, |tag| {
        NodeTag::from_bytes(&tag)
            .ok_or_else(|| Fault::new("tag", format!("{} bytes", tag.len()), "a node tag has 8 bytes"))
    })?;
    let revoked: BTreeSet<NodeTag> = revoked.into_iter().collect();
    let roots = message.roots.into_iter().map(CertificateDer::from).collect();
    Bundle::new(&message.trust_domain, roots, revoked, message.issuer_key_id).map_err(|error| {
        Fault::new(format!("roots[{}]", error.index), error.problem, "not a root certificate in DER")
    })
}

fn workload(message: wire::Workload) -> Result<Workload, Fault> {
    for (field, value) in [
        ("uid", &message.uid),
        ("namespace", &message.namespace),
        ("name", &message.name),
        ("service_account", &message.service_account),
    ] {
        if value.is_empty() {
            return Err(Fault::new(field, "empty", "a pod has one"));
        }
    }
    if message.group == 0 {
        return Err(Fault::new("group", 0, "0 is no group"));
    }
    let local = message
        .local
        .map(|local| {
            let probe_ports = indexed("probe_ports", local.probe_ports, |number| port("port", number))
                .map_err(|fault| fault.within("local"))?;
            Ok(Local { probe_ports, refused_reason: local.refused_reason })
        })
        .transpose()?;
    Ok(Workload {
        uid: message.uid,
        namespace: message.namespace,
        workload: if message.workload.is_empty() { message.name.clone() } else { message.workload },
        name: message.name,
        service_account: message.service_account,
        addresses: indexed("addresses", message.addresses, |bytes| address(&bytes))?,
        node: message.node,
        enrolled: message.enrolled,
        host_network: message.host_network,
        group: message.group,
        encrypt_always: message.encrypt_always,
        local,
    })
}

fn service(message: wire::Service) -> Result<Service, Fault> {
    for (field, value) in [("namespace", &message.namespace), ("name", &message.name)] {
        if value.is_empty() {
            return Err(Fault::new(field, "empty", "a Service has one"));
        }
    }
    Ok(Service {
        namespace: message.namespace,
        name: message.name,
        addresses: indexed("addresses", message.addresses, |bytes| address(&bytes))?,
        external_addresses: indexed("external_addresses", message.external_addresses, |bytes| {
            address(&bytes)
        })?,
        node_addresses: indexed("node_addresses", message.node_addresses, |bytes| address(&bytes))?,
        ports: indexed("ports", message.ports, service_port)?,
        affinity_seconds: message.client_ip_affinity_seconds,
        round_robin: message.round_robin,
    })
}

fn service_port(message: wire::ServicePort) -> Result<ServicePort, Fault> {
    let app_protocol = app_protocol(message.app_protocol());
    let node_port = match message.node_port {
        0 => None,
        number => Some(port("node_port", number)?),
    };
    Ok(ServicePort {
        name: message.name,
        protocol: Protocol::parse(message.protocol)?,
        port: port("port", message.port)?,
        node_port,
        endpoints: indexed("endpoints", message.endpoints, |endpoint| {
            if endpoint.weight == 0 {
                return Err(Fault::new("weight", 0, "an endpoint weighs at least 1"));
            }
            Ok(EndpointEntry {
                address: address(&endpoint.address)?,
                port: port("port", endpoint.port)?,
                weight: endpoint.weight,
                enrolled: endpoint.enrolled,
            })
        })?,
        app_protocol,
        by_request: message.by_request,
    })
}
