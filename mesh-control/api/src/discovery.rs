//! The delta aggregated discovery service, generated from `proto/discovery.proto`.
//!
//! Field numbers are Envoy's (`envoy.service.discovery.v3`), so any xDS tool can read the stream.

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto file has the documentation"
)]
mod generated {
    tonic::include_proto!("envoy.service.discovery.v3");
}

pub use generated::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource, Status,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
};
