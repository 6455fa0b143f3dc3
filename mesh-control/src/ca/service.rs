//! The gRPC service that agents get their certificates from.

use std::{sync::Arc, time::Instant};

use mesh_api::certificates::{
    CertificateReply, IssueRequest, JoinRequest, NodeIdentity, NodeIdentityServer, RenewRequest,
};
use tokio::sync::Semaphore;
use tonic::{Extensions, Request, Response, Status};

use super::{
    account::AccountError,
    authority::{Authority, CaError},
    issuing::{IssueError, Signed},
    lease::Lease,
    peer::{Peer, PeerError},
    review::ReviewError,
    time::Timestamp,
};
use crate::serve::{Connection, Pace};

/// The longest message that is read.
const MESSAGE_BYTES: usize = 16 << 10;

/// Requests that are worked on at a time. Signing is one after the other, since each is written down
/// first; one more is ready when the last is done.
const AT_A_TIME: usize = 2;

/// The service.
#[derive(Debug, Clone)]
pub struct Identity {
    authority: Arc<Authority>,
    turns: Arc<Semaphore>,
    pace: Arc<Pace>,
}

impl Identity {
    /// Serves an authority.
    #[must_use]
    pub fn new(authority: Arc<Authority>) -> Self {
        Self { authority, turns: Arc::new(Semaphore::new(AT_A_TIME)), pace: Arc::default() }
    }

    /// As a gRPC service.
    #[must_use]
    pub fn service(self) -> NodeIdentityServer<Self> {
        NodeIdentityServer::new(self).max_decoding_message_size(MESSAGE_BYTES)
    }

    fn caller(&self, extensions: &Extensions) -> Result<Arc<Peer>, Status> {
        let peer = peer(extensions)?;
        let lease = self
            .authority
            .lease(peer.clone())
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        tracing::trace!(node = lease.node(), "authenticated");
        Ok(peer)
    }

    /// Asks the authority, off the thread that serves everybody: it waits for the disk.
    async fn sign(
        &self,
        method: &'static str,
        node: &str,
        sign: impl FnOnce(&Authority) -> Result<Signed, IssueError> + Send + 'static,
    ) -> Result<Response<CertificateReply>, Status> {
        let stopping = || Status::unavailable("the controller is stopping");
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| stopping())?;
        let authority = self.authority.clone();
        let signed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            sign(&authority)
        });
        self.answer(signed.await.map_err(|_| stopping())?, method, node)
    }

    fn answer(
        &self,
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
                if let Some(unlogged) = self.pace.take(Instant::now()) {
                    // A name that nobody has checked yet may be anything.
                    let node: String = node.chars().take(64).collect();
                    tracing::warn!(method, ?node, code = ?status.code(), %error, unlogged, "no certificate issued");
                }
                Err(status)
            }
        }
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
        let from = request.extensions().get::<Connection>().and_then(Connection::address);
        let JoinRequest { node, token, csr } = request.into_inner();
        let asked = node.clone();
        if let Some(agents) = self.authority.agents.clone() {
            let proof = match agents.prove(&token, from, Timestamp::now()).await {
                Ok(proof) => proof,
                Err(error) => return self.answer(Err(error.into()), "join", &asked),
            };
            let join = move |authority: &Authority| {
                authority.join_as(&node, agents.account(), &proof, &csr, Timestamp::now())
            };
            return self.sign("join", &asked, join).await;
        }
        self.sign("join", &asked, move |authority| authority.join(&node, &token, &csr, Timestamp::now()))
            .await
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<CertificateReply>, Status> {
        let peer = self.caller(request.extensions())?;
        let csr = request.into_inner().csr;
        let asking = peer.clone();
        self.sign("renew", peer.id.name(), move |authority| authority.renew(&asking, &csr, Timestamp::now()))
            .await
    }

    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<CertificateReply>, Status> {
        let peer = self.caller(request.extensions())?;
        let IssueRequest { pod_uid, csr } = request.into_inner();
        let asking = peer.clone();
        self.sign("issue", peer.id.name(), move |authority| {
            authority.issue(&asking, &pod_uid, &csr, Timestamp::now())
        })
        .await
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
        IssueError::Review(ReviewError::Account(AccountError::UnknownPod(_)) | ReviewError::NotAsked(_)) => {
            Status::unavailable(text)
        }
        IssueError::Review(ReviewError::Account(_)) => Status::permission_denied(text),
        IssueError::TooMany(_) | IssueError::Review(ReviewError::TooOften(_)) => {
            Status::resource_exhausted(text)
        }
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
