//! What supervisor and node tell each other: lines of JSON, the wanted state down, what became of it up.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::{Deserialize, Serialize};

use crate::{addresses::Pair, manifests::Key};

/// How pods are joined to their node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// Routed: every pod has a link to the node of its own, as the CNI plugin `ptp` makes it.
    #[default]
    Ptp,
    /// Bridged: the pods of a node share a link, as the CNI plugin `bridge` makes it.
    Bridge,
}

/// What a node is told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The testbed's name.
    pub testbed: String,
    /// The node's name.
    pub node: String,
    /// How pods are joined.
    pub cni: Cni,
    /// The node's own addresses.
    pub addresses: Pair,
    /// The pods' gateway.
    pub gateway: Pair,
    /// Where the cluster's DNS answers.
    pub dns: Vec<IpAddr>,
    /// What pods find on their `PATH` behind the system's folders.
    pub programs: PathBuf,
    /// The testbed's own program.
    pub testbed_program: PathBuf,
}

/// What is wanted of a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Desired {
    /// The pods to run here; one that is no longer named is terminated.
    pub pods: Vec<PodAssignment>,
    /// Every Service of the cluster.
    pub services: Vec<ServiceState>,
    /// Sources of environment and volumes.
    pub config_maps: BTreeMap<Key, ConfigMap>,
    /// Sources of environment and volumes.
    pub secrets: BTreeMap<Key, Secret>,
}

/// A pod and what was decided about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodAssignment {
    /// The object.
    pub pod: Pod,
    /// Namespace and name.
    pub key: Key,
    /// Its uid, new for every instance of that name.
    pub uid: String,
    /// Its addresses; the node's for a pod in the node's network.
    pub addresses: Pair,
    /// Whether only the testbed knows the object, see [`crate::manifests::PodManifest`].
    pub generated: bool,
}

/// A Service with its addresses and what is behind them now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Namespace and name.
    pub key: Key,
    /// Its cluster, external and load-balancer addresses; none for a headless one.
    pub addresses: Vec<IpAddr>,
    /// For `type: ExternalName`, the name to answer with.
    pub external_name: Option<String>,
    /// Its ports.
    pub ports: Vec<PortState>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortState {
    /// Its name, empty for an only port.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The Service's port.
    pub port: u16,
    /// The port on every node.
    pub node_port: Option<u16>,
    /// What is behind it.
    pub endpoints: Vec<Endpoint>,
}

/// An address behind a Service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// The pod's host name within the Service's domain.
    pub hostname: Option<String>,
    /// Whether new connections go there (ready, or published regardless).
    pub ready: bool,
    /// The node it is on.
    pub node: Option<String>,
}

impl Endpoint {
    /// The address if it is IPv4.
    #[must_use]
    pub fn v4(&self) -> Option<Ipv4Addr> {
        if let IpAddr::V4(address) = self.address { Some(address) } else { None }
    }

    /// The address if it is IPv6.
    #[must_use]
    pub fn v6(&self) -> Option<Ipv6Addr> {
        if let IpAddr::V6(address) = self.address { Some(address) } else { None }
    }
}

/// What a node reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Its network is up and DNS answers.
    Up,
    /// A pod changed.
    Pod {
        /// Which.
        uid: String,
        /// Its phase.
        phase: String,
        /// Whether it is ready.
        ready: bool,
        /// Whether it is being terminated.
        terminating: bool,
    },
    /// A pod is gone, with everything of it.
    Gone {
        /// Which.
        uid: String,
    },
}
