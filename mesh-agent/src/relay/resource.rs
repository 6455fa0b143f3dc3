//! Discovery resources as relay works with them: parsed once, at the edge.
//!
//! [`mod@parse`] turns what came over the stream into these types or into an [`Invalid`] that names
//! resource, field and value; behind it nothing has to be checked again.

mod cidr;
mod error;
mod field;
mod parse;
mod policy;
mod requests;
mod routes;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use mesh_l7::table::route::AppProtocol;

use super::tls::Bundle;
use crate::handover::EndpointEntry;
pub(crate) use cidr::Cidr;
pub(crate) use error::Invalid;
pub(crate) use parse::parse;
pub(crate) use policy::{Action, DirectionPolicy, Entry, Mtls, PodPolicy, Protocol, Rule, Tier};
#[cfg(test)]
pub(crate) use policy::{PortRange, parse_direction};
#[cfg(test)]
pub(crate) use routes::RoutedPort;
pub(crate) use routes::{Routed, ServiceRoutes};

/// The resource types relay subscribes to, in the order it asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Settings of the node.
    NodeConfig,
    /// What certificates to believe.
    TrustBundle,
    /// Access policy of one local pod.
    PodPolicy,
    /// A pod somewhere in the mesh.
    Workload,
    /// A Service.
    Service,
    /// The routes of a Service.
    ServiceRoutes,
}

impl Kind {
    /// Every type.
    pub(crate) const ALL: [Self; 6] = [
        Self::NodeConfig,
        Self::TrustBundle,
        Self::PodPolicy,
        Self::Workload,
        Self::Service,
        Self::ServiceRoutes,
    ];

    /// Its type URL.
    pub(crate) fn type_url(self) -> String {
        use mesh_api::resources;
        match self {
            Self::NodeConfig => mesh_api::type_url::<resources::NodeConfig>(),
            Self::TrustBundle => mesh_api::type_url::<resources::TrustBundle>(),
            Self::PodPolicy => mesh_api::type_url::<resources::PodPolicy>(),
            Self::Workload => mesh_api::type_url::<resources::Workload>(),
            Self::Service => mesh_api::type_url::<resources::Service>(),
            Self::ServiceRoutes => mesh_api::type_url::<resources::ServiceRoutes>(),
        }
    }

    /// From a type URL.
    pub(crate) fn of_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Its name, for messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NodeConfig => "NodeConfig",
            Self::TrustBundle => "TrustBundle",
            Self::PodPolicy => "PodPolicy",
            Self::Workload => "Workload",
            Self::Service => "Service",
            Self::ServiceRoutes => "ServiceRoutes",
        }
    }
}

/// A parsed resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Resource {
    /// Settings of the node.
    NodeConfig(NodeConfig),
    /// What certificates to believe.
    TrustBundle(Arc<Bundle>),
    /// Access policy of one local pod.
    PodPolicy(PodPolicy),
    /// A pod somewhere in the mesh.
    Workload(Workload),
    /// A Service.
    Service(Service),
    /// The routes of a Service.
    ServiceRoutes(Arc<ServiceRoutes>),
}

impl Resource {
    /// Its type.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::NodeConfig(_) => Kind::NodeConfig,
            Self::TrustBundle(_) => Kind::TrustBundle,
            Self::PodPolicy(_) => Kind::PodPolicy,
            Self::Workload(_) => Kind::Workload,
            Self::Service(_) => Kind::Service,
            Self::ServiceRoutes(_) => Kind::ServiceRoutes,
        }
    }
}

/// Settings of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// Trust domain of every identity.
    pub trust_domain: String,
    /// `enrolment.unknown: Closed`.
    pub unknown_closed: bool,
    /// What the access log is to hold.
    pub access_log: AccessLog,
    /// Generation of MeshConfig, 0 for none.
    pub mesh_config_generation: i64,
}

/// What the access log is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AccessLog {
    /// How a line is written.
    pub format: LogFormat,
    /// Which connections get a line.
    pub level: LogLevel,
}

/// How a line of the access log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words and `key=value`.
    Text,
}

/// Which connections get a line in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogLevel {
    /// Denied and audited ones.
    #[default]
    Denied,
    /// All.
    All,
    /// None.
    Off,
}

/// A pod somewhere in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    /// UID of the pod.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Its service account.
    pub service_account: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The node it runs on.
    pub node: String,
    /// The name that metrics know it by.
    pub workload: String,
    /// Labelled into the mesh and able to be in it.
    pub enrolled: bool,
    /// It runs in its node's network namespace.
    pub host_network: bool,
    /// The class of pods that policies treat alike; never 0.
    pub group: u64,
    /// `encryption: Always` holds for it.
    pub encrypt_always: bool,
    /// Present when it runs on this node.
    pub local: Option<Local>,
}

/// What only the pod's own node needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Local {
    /// Ports that probes declare.
    pub probe_ports: Vec<u16>,
    /// Why enrolment was refused; empty when it was not.
    pub refused_reason: String,
}

/// A Service as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Cluster addresses, dialled with the port. Routes apply to these.
    pub addresses: Vec<IpAddr>,
    /// External and load-balancer addresses, dialled with the port.
    pub external_addresses: Vec<IpAddr>,
    /// Addresses that are dialled with the node port.
    pub node_addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `sessionAffinity: ClientIP` timeout, 0 for none.
    pub affinity_seconds: u32,
    /// Requests go to its endpoints in turn.
    pub round_robin: bool,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServicePort {
    /// Its name, may be empty.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The node port, if any.
    pub node_port: Option<u16>,
    /// Endpoints.
    pub endpoints: Vec<EndpointEntry>,
    /// What is spoken there.
    pub app_protocol: AppProtocol,
    /// Its requests are looked at although no route names it.
    pub by_request: bool,
}
