//! The resources that a node's agent receives, generated from `proto/resources.proto` and `proto/routes.proto`.

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
    AccessLog, Action, AppProtocol, Cidr, ConsumerTable, Cors, DirectionPolicy, Endpoint, Groups,
    GrpcRequests, Header, HeaderModifier, HttpMatch, HttpRequests, LocalPod, Mtls, NodeConfig, PathMatch,
    PathModifier, Peer, PodPolicy, PortRange, PortRoutes, Protocol, RequestMirror, RequestRedirect,
    RouteBackend, RouteEntry, RouteFilter, RouteKind, RouteRetry, RouteRule, RouteTable, RouteTimeouts, Rule,
    Service, ServicePort, ServiceRoutes, Tier, TrustBundle, UrlRewrite, ValueMatch, Workload, access_log,
    path_match, path_modifier, route_filter, value_match,
};
