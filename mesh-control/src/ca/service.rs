//! The gRPC service that agents get their certificates from.

use std::sync::Arc;

use mesh_api::certificates::{
    CertificateReply, IssueRequest, JoinRequest, NodeIdentity, NodeIdentityServer, RenewRequest,
};
use tonic::{Extensions, Request, Response, Status};

use super::{
    authority::{Authority, CaError},
    issuing::{IssueError, Signed},
    lease::Lease,
    peer::{Peer, PeerError},
    time::Timestamp,
};
use crate::serve::Connection;

/// The longest message that is read.
const MESSAGE_BYTES: usize = 16 << 10;

/// The service.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Authority>);

impl Identity {
    /// Serves an authority.
    #[must_use]
    pub fn new(authority: Arc<Authority>) -> Self {
        Self(authority)
    }

    /// As a gRPC service.
    #[must_use]
    pub fn service(self) -> NodeIdentityServer<Self> {
        NodeIdentityServer::new(self).max_decoding_message_size(MESSAGE_BYTES)
    }

    fn caller(&self, extensions: &Extensions) -> Result<Arc<Peer>, Status> {
        let peer = peer(extensions)?;
        let lease =
            self.0.lease(peer.clone()).map_err(|error| Status::permission_denied(error.to_string()))?;
        tracing::trace!(node = lease.node(), "authenticated");
        Ok(peer)
    }
}

/// The node on the other side of a request's connection.
fn peer(extensions: &Extensions) -> Result<Arc<Peer>, Status> {
    let connection = extensions.get::<Connection>();
    match connection.and_then(Connection::peer) {
        Some(Ok(peer)) => Ok(peer.clone()),
        Some(Err(error)) => Err(Status::permission_denied(PeerError::to_string(error))),
        None => Err(Status::unauthenticated(
            "a client certificate is required, spiffe://<trust domain>/mesh/node/<name>; join first, with the node's join file",
        )),
    }
}

impl Authority {
    /// The right of the node that a request came from to be served.
    pub(crate) fn admit(&self, extensions: &Extensions) -> Result<Lease, Status> {
        let lease = self.lease(peer(extensions)?);
        lease.map_err(|error| Status::permission_denied(error.to_string()))
    }
}

#[tonic::async_trait]
impl NodeIdentity for Identity {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<CertificateReply>, Status> {
        let JoinRequest { node, token, csr } = request.into_inner();
        let signed = self.0.join(&node, &token, &csr, Timestamp::now());
        answer(signed, "join", &node)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<CertificateReply>, Status> {
        let peer = self.caller(request.extensions())?;
        let signed = self.0.renew(&peer, &request.get_ref().csr, Timestamp::now());
        answer(signed, "renew", peer.id.name())
    }

    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<CertificateReply>, Status> {
        let peer = self.caller(request.extensions())?;
        let IssueRequest { pod_uid, csr } = request.get_ref();
        let signed = self.0.issue(&peer, pod_uid, csr, Timestamp::now());
        answer(signed, "issue", peer.id.name())
    }
}

fn answer(
    signed: Result<Signed, IssueError>,
    method: &'static str,
    node: &str,
) -> Result<Response<CertificateReply>, Status> {
    match signed {
        Ok(Signed { chain, issuer_key_id }) => Ok(Response::new(CertificateReply {
            chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            issuer_key_id,
        })),
        Err(error) => {
            let status = status(&error);
            // A name that nobody has checked yet may be anything.
            let node: String = node.chars().take(64).collect();
            tracing::warn!(method, ?node, code = ?status.code(), %error, "no certificate issued");
            Err(status)
        }
    }
}

fn status(error: &IssueError) -> Status {
    let text = error.to_string();
    match error {
        IssueError::Request(_) => Status::invalid_argument(text),
        IssueError::Token(_) | IssueError::Authority(CaError::NoSuchNode(_)) => {
            Status::permission_denied(text)
        }
        IssueError::Elsewhere { .. } => Status::permission_denied(text),
        IssueError::TooMany(_) => Status::resource_exhausted(text),
        IssueError::UnknownPod(_) => Status::not_found(text),
        IssueError::Ended(_)
        | IssueError::NotEnrolled(_)
        | IssueError::Ambiguous { .. }
        | IssueError::Identity(_) => Status::failed_precondition(text),
        IssueError::Authority(CaError::NotReady) => Status::unavailable(text),
        // What is wrong with the controller's files is not the node's business.
        IssueError::Authority(_) => {
            Status::internal("the controller cannot sign now; its log and GET /ca say why")
        }
    }
}
