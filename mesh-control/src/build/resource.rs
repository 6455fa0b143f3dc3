//! Resources ready to be sent: encoded once, with a version that is a hash of the content.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use mesh_api::resources::{NodeConfig, PodPolicy, Service, ServiceRoutes, TrustBundle, Workload};
use prost::{Message, Name};
use sha2::{Digest, Sha256};

use crate::{
    ca::Placement,
    objects::{ObjectName, ObjectRef},
};

/// The kinds of resources, in the order in which a node is sent them: what a pod needs is there
/// before the pod is, and the pod before what leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// Settings of the node.
    NodeConfig,
    /// What certificates to believe.
    TrustBundle,
    /// Policies of the node's pods.
    PodPolicy,
    /// Pods.
    Workload,
    /// Services.
    Service,
    /// Their routes, after the Services that they lead to.
    ServiceRoutes,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::NodeConfig,
        Self::TrustBundle,
        Self::PodPolicy,
        Self::Workload,
        Self::Service,
        Self::ServiceRoutes,
    ];

    /// Its type URL.
    #[must_use]
    pub fn type_url(self) -> String {
        match self {
            Self::NodeConfig => mesh_api::type_url::<NodeConfig>(),
            Self::TrustBundle => mesh_api::type_url::<TrustBundle>(),
            Self::Service => mesh_api::type_url::<Service>(),
            Self::ServiceRoutes => mesh_api::type_url::<ServiceRoutes>(),
            Self::PodPolicy => mesh_api::type_url::<PodPolicy>(),
            Self::Workload => mesh_api::type_url::<Workload>(),
        }
    }

    /// The kind with this type URL.
    #[must_use]
    pub fn of_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Its short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeConfig => "NodeConfig",
            Self::TrustBundle => "TrustBundle",
            Self::Service => "Service",
            Self::ServiceRoutes => "ServiceRoutes",
            Self::PodPolicy => "PodPolicy",
            Self::Workload => "Workload",
        }
    }
}

/// A resource's kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// The kind.
    pub kind: ResourceKind,
    /// The name among those of its kind.
    pub name: Arc<str>,
}

impl ResourceKey {
    /// The key of a resource.
    pub fn new(kind: ResourceKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }
}

/// Who is sent a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every node that has no resource of that key of its own.
    Shared,
    /// One node.
    Node(Arc<str>),
}

/// An encoded resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// A hash of the content: equal resources have equal versions, across restarts as well.
    pub version: String,
    /// The content.
    pub resource: prost_types::Any,
    /// The objects of ours that shaped it, whose `Programmed` waits for it.
    pub origins: Arc<[ObjectRef]>,
    /// Of a pod in the mesh its addresses, of a Service those that it leads to: a node is told of the
    /// first before it is told of the second.
    pub addresses: Arc<[IpAddr]>,
}

impl Encoded {
    /// Encodes a resource.
    pub(crate) fn new<T: Message + Name>(resource: &T, origins: Arc<[ObjectRef]>) -> Self {
        let value = resource.encode_to_vec();
        let digest = Sha256::digest(&value);
        let version = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            version,
            resource: prost_types::Any { type_url: T::type_url(), value },
            origins,
            addresses: [].into(),
        }
    }

    /// Encodes a pod.
    pub(super) fn of_pod(pod: &Workload) -> Self {
        let addresses = pod.addresses.iter().filter(|_| pod.enrolled).filter_map(|octets| address(octets));
        Self { addresses: addresses.collect(), ..Self::new(pod, [].into()) }
    }

    /// Encodes a Service.
    pub(super) fn of_service(service: &Service) -> Self {
        let endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
        let addresses: BTreeSet<_> = endpoints.filter_map(|endpoint| address(&endpoint.address)).collect();
        Self { addresses: addresses.into_iter().collect(), ..Self::new(service, [].into()) }
    }
}

/// Encoded resources by key.
pub type Resources = BTreeMap<ResourceKey, Arc<Encoded>>;

/// What a build made of a change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Resources that are new or other than before.
    pub updated: Vec<(Scope, ResourceKey, Arc<Encoded>)>,
    /// Resources that are no more.
    pub removed: Vec<(Scope, ResourceKey)>,
    /// Where pods are that came, went or changed.
    pub placed: Vec<(ObjectName, Option<Placement>)>,
    /// Conditions of all objects, those without a change included.
    pub conditions: crate::objects::Conditions,
    /// What every route's status says of its parents.
    pub parents: Arc<super::RouteParents>,
}

/// An address as it is sent: 4 or 16 bytes.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address of so many bytes.
fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}
