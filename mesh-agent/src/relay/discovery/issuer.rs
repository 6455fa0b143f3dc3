//! Certificates from the controller, over the connection that discovery keeps.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use mesh_api::certificates::{CertificateReply, IssueRequest, JoinRequest, NodeIdentityClient, RenewRequest};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::relay::identity::Issuer;

/// How long the controller may take to sign.
const SIGN_WITHIN: Duration = Duration::from_secs(10);

/// The controller, while there is a connection to it.
#[derive(Debug, Default)]
pub(crate) struct Controller {
    channel: RefCell<Option<Channel>>,
    reachable: watch::Sender<bool>,
}

impl Controller {
    /// A connection is up, or down.
    pub(super) fn connected(&self, channel: Option<Channel>) {
        let reachable = channel.is_some();
        *self.channel.borrow_mut() = channel;
        self.reachable.send_replace(reachable);
    }
}

impl Issuer for Controller {
    async fn issue(&self, pod_uid: &str, csr: Vec<u8>) -> Result<CertificateReply, String> {
        let channel = self.channel.borrow().clone().ok_or("there is no connection to the controller")?;
        let request = IssueRequest { pod_uid: pod_uid.to_owned(), csr };
        within(NodeIdentityClient::new(channel).issue(request)).await.map_err(|status| text(&status))
    }

    fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }
}

/// The first certificate of a node, for its token.
pub(super) async fn join(
    channel: Channel,
    node: &str,
    token: String,
    csr: Vec<u8>,
) -> Result<CertificateReply, Status> {
    within(NodeIdentityClient::new(channel).join(JoinRequest { node: node.to_owned(), token, csr })).await
}

/// The next certificate of the node that the connection was made as.
pub(super) async fn renew(channel: Channel, csr: Vec<u8>) -> Result<CertificateReply, Status> {
    within(NodeIdentityClient::new(channel).renew(RenewRequest { csr })).await
}

async fn within(
    call: impl Future<Output = Result<Response<CertificateReply>, Status>>,
) -> Result<CertificateReply, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {} seconds", SIGN_WITHIN.as_secs()));
    timeout(SIGN_WITHIN, call).await.map_err(|_| late())?.map(Response::into_inner)
}

/// A status as an operator reads it.
pub(super) fn text(status: &Status) -> String {
    format!("the controller says {}: {}", status.code(), status.message())
}
