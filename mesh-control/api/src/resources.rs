//! The resources that a node's agent receives, generated from `proto/resources.proto`.

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto files have the documentation"
)]
pub(crate) mod generated {
    tonic::include_proto!("mesh.internal.v1alpha1");
}

pub use generated::{
    AccessLog, Action, Cidr, DirectionPolicy, Endpoint, Groups, LocalPod, Mtls, NodeConfig, Peer, PodPolicy,
    PortRange, Protocol, Rule, Service, ServicePort, Tier, TrustBundle, Workload, access_log,
};
