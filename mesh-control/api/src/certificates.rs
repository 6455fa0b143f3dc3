//! How agents get their certificates, generated from `proto/identity.proto`.

pub use crate::resources::generated::{
    CertificateReply, IssueRequest, JoinRequest, RenewRequest,
    node_identity_client::NodeIdentityClient,
    node_identity_server::{NodeIdentity, NodeIdentityServer},
};
