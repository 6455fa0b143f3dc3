//! One connection to the controller: as what, for how long, and what to try after it.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::NodeId;
use tonic::{Code, Status};

use super::credential::Credential;
use super::dial::{DialError, Dialled, dial};
use super::issuer::{self, Controller};
use super::join::{JoinFile, JoinFileError};
use super::session::{self, SessionError};
use super::{Held, Node, Options};
use crate::relay::identity::{CertificateError, Request, random};
use crate::relay::tls::{Bundle, TlsFault, moment};

/// The longest sleep before looking at the clock again.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How long to leave a certificate alone that was just issued by another issuer than the bundle
/// names: the controller is in the middle of a rotation.
const ISSUER_SETTLES: Duration = Duration::from_secs(15);

/// How a connection that worked ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The controller closed it.
    Closed,
    /// There is a newer certificate to connect with.
    Renewed,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    /// Nothing to join with.
    #[error(transparent)]
    JoinFile(#[from] JoinFileError),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The token was not taken.
    #[error("joining: {}; a token counts once and for a time: ask the controller for a new join file (`POST /join?node=` at its control.sock)", issuer::text(.0))]
    Join(Status),
    /// What was issued to the node is not what it asked for.
    #[error("the certificate of this node: {0}")]
    Certificate(#[from] CertificateError),
    /// The node's name is none.
    #[error(transparent)]
    Name(#[from] mesh_api::NodeIdError),
    /// The controller does not believe this node.
    #[error("the controller refuses this node's certificate: {0}")]
    Refused(TlsFault),
    /// The stream failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// This agent, as the controller knows it.
pub(super) struct Agent {
    options: Options,
    credential: Option<Credential>,
    /// When the certificate came, as far as this process saw.
    obtained: SystemTime,
    /// The last attempt ended such that joining anew may help.
    refused: bool,
}

impl Agent {
    /// With what an earlier run kept.
    pub(super) fn new(node: &Node, options: Options) -> Self {
        let credential =
            Credential::kept(&options.run_dir, &node.name, SystemTime::now()).unwrap_or_else(|error| {
                tracing::warn!(%error, "the node's kept certificate cannot be used");
                None
            });
        Self { options, credential, obtained: SystemTime::UNIX_EPOCH, refused: false }
    }

    /// Connects, streams, renews; gives back why that ended.
    pub(super) async fn attempt(
        &mut self,
        node: &Rc<Node>,
        held: &Held,
        controller: &Controller,
    ) -> Result<Ended, AttemptError> {
        let counts = self.credential.as_ref().is_some_and(|credential| credential.counts(SystemTime::now()));
        if !counts || self.refused {
            match JoinFile::read(&self.options.join, &node.name) {
                Ok(file) => self.join(node, file).await?,
                // What is held may be believed again when the controller is itself again.
                Err(_) if counts => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(credential) = &mut self.credential else {
            return Err(JoinFileError::Absent(self.options.join.clone()).into());
        };
        *node.discovery.certificate.borrow_mut() = Some(credential.shown());
        let bundle = believed(node, &credential.bundle);
        let dialled = dial(&self.options.control, Some(credential.key()), bundle)
            .await
            .inspect_err(|error| self.refused = matches!(error, DialError::Tls { .. }))?;
        controller.connected(Some(dialled.channel.clone()));
        let run_dir = &self.options.run_dir;
        let result = tokio::select! {
            result = session::run(node, &dialled, held) => result.map(|()| Ended::Closed),
            renewed = renew_in_time(node, credential, &dialled, run_dir, &mut self.obtained) => {
                renewed.map(|()| Ended::Renewed)
            }
        };
        let alert = dialled.fault().filter(|fault| matches!(fault, TlsFault::Refused(_)));
        self.refused = alert.is_some() || result.as_ref().is_err_and(is_refusal);
        match (alert, result) {
            (Some(fault), Err(_)) => Err(AttemptError::Refused(fault)),
            (_, result) => Ok(result?),
        }
    }

    /// Gets the first certificate for the token of the join file.
    async fn join(&mut self, node: &Node, file: JoinFile) -> Result<(), AttemptError> {
        let id = NodeId::new(&file.bundle.trust_domain, &node.name)?;
        let dialled = dial(&self.options.control, None, Arc::clone(&file.bundle)).await?;
        let request = Request::new()?;
        let reply = issuer::join(dialled.channel, &node.name, file.token, request.csr.clone())
            .await
            .map_err(AttemptError::Join)?;
        let now = SystemTime::now();
        let credential = Credential::issued(&request, reply, &id, file.bundle, now)?;
        tracing::info!(%id, not_after = moment(&credential.not_after()), "joined the mesh");
        keep(&credential, &self.options.run_dir);
        self.credential = Some(credential);
        self.obtained = now;
        self.refused = false;
        Ok(())
    }
}

/// Whom to believe as the controller: the roots that discovery told and those joined with, since
/// the controller may have begun anew while this node was away.
fn believed(node: &Node, joined: &Arc<Bundle>) -> Arc<Bundle> {
    let current = node.trust.current();
    if current.is_none() || current.trust_domain != joined.trust_domain {
        return Arc::clone(joined);
    }
    let mut roots = current.roots.clone();
    roots.extend(joined.roots.iter().filter(|root| !current.roots.contains(root)).cloned());
    let both = Bundle::new(&joined.trust_domain, roots, BTreeSet::new(), Vec::new());
    both.map_or_else(|_| Arc::clone(joined), Arc::new)
}

/// Returns when the node has a new certificate, which is in `credential` then, or the controller
/// will not give it one.
async fn renew_in_time(
    node: &Node,
    credential: &mut Credential,
    dialled: &Dialled,
    run_dir: &Path,
    obtained: &mut SystemTime,
) -> Result<(), SessionError> {
    let mut bundles = node.trust.changed();
    bundles.mark_changed();
    loop {
        if bundles.has_changed().unwrap_or(false) {
            let bundle = Arc::clone(&bundles.borrow_and_update());
            let issuer = &bundle.issuer_key_id;
            if !issuer.is_empty() && credential.issuer_key_id() != issuer {
                let from = SystemTime::now().max(*obtained + ISSUER_SETTLES);
                credential.schedule.reissue(from, random());
            }
            if !bundle.is_none() && credential.bundle.roots != bundle.roots {
                credential.bundle = bundle;
                keep(credential, run_dir);
            }
        }
        let now = SystemTime::now();
        if credential.schedule.is_due(now) {
            match renew(credential, dialled).await {
                Ok(renewed) => {
                    tracing::info!(
                        not_after = moment(&renewed.not_after()),
                        "this node's certificate is renewed"
                    );
                    keep(&renewed, run_dir);
                    *credential = renewed;
                    *obtained = now;
                    return Ok(());
                }
                Err(RenewError::Status(status)) if is_refused(&status) => return Err(status.into()),
                Err(error) => {
                    tracing::warn!(%error, "this node's certificate is not renewed; trying again");
                    credential.schedule.failed(error.to_string(), SystemTime::now(), random());
                }
            }
        }
        let sleep = credential.schedule.due().duration_since(SystemTime::now()).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(sleep.min(LONGEST_SLEEP)) => {}
            changed = bundles.changed() => {
                if changed.is_ok() {
                    bundles.mark_changed();
                }
            }
        }
    }
}

/// Why a node's certificate was not renewed.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("{}", issuer::text(.0))]
    Status(Status),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Name(#[from] mesh_api::NodeIdError),
}

async fn renew(credential: &Credential, dialled: &Dialled) -> Result<Credential, RenewError> {
    let request = Request::new()?;
    let reply =
        issuer::renew(dialled.channel.clone(), request.csr.clone()).await.map_err(RenewError::Status)?;
    let id: NodeId = credential.name().parse()?;
    let bundle = Arc::clone(&credential.bundle);
    Ok(Credential::issued(&request, reply, &id, bundle, SystemTime::now())?)
}

/// Whether the controller knows this node no more, so that joining anew may help.
fn is_refusal(error: &SessionError) -> bool {
    matches!(error, SessionError::Stream(status) if is_refused(status))
}

fn is_refused(status: &Status) -> bool {
    matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
}

/// Keeps the certificate for the next run where nothing reaches a disk.
fn keep(credential: &Credential, run_dir: &Path) {
    match credential.keep(run_dir) {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            directory = %run_dir.display(),
            "the run directory is not in memory (tmpfs), so the node's key is not kept: after a restart the node needs a new join file"
        ),
        Err(error) => {
            tracing::warn!(directory = %run_dir.display(), %error, "the node's certificate cannot be kept")
        }
    }
}
