//! One connection to the controller: as what, for how long, and what to try after it.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_api::NodeId;
use tonic::{Code, Status};

use super::control::Known;
use super::credential::Credential;
use super::dial::{DialError, Dialled, dial};
use super::invitation::{Invitation, InvitationError};
use super::issuer::{self, Controller};
use super::ledger::Ledger;
use super::report;
use super::session::{self, SessionError};
use super::{Held, Node, Options};
use crate::relay::identity::{CertificateError, ISSUER_SETTLES, LONGEST_SLEEP, Request, random};
use crate::relay::tls::{Bundle, TlsFault, moment};

/// What is done where the controller has too much to do.
const ASKED_AGAIN: &str = "this node asks again, with longer and longer pauses up to 15 s";

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
    Invitation(#[from] InvitationError),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The token was not taken.
    #[error("joining: {}; {advice}", issuer::text(status))]
    Join {
        /// What the controller says.
        status: Status,
        /// What to do.
        advice: &'static str,
    },
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
    /// Where the controller's name led.
    known: Known,
    credential: Option<Credential>,
    /// When the certificate came, as far as this process saw.
    obtained: SystemTime,
    /// The last attempt ended such that joining anew may help.
    refused: bool,
    /// What the controller was told of the node's pods.
    ledger: Ledger,
    /// Which trust domain the next attempt expects the controller to be of, where what the node
    /// joined with and what discovery told last differ.
    by_discovery: bool,
}

impl Agent {
    /// With what an earlier run kept.
    pub(super) fn new(node: &Node, options: Options) -> Self {
        let credential =
            Credential::kept(&options.run_dir, &node.name, SystemTime::now()).unwrap_or_else(|error| {
                tracing::warn!(%error, "the node's kept certificate cannot be used");
                None
            });
        Self {
            options,
            known: Known::default(),
            credential,
            obtained: SystemTime::UNIX_EPOCH,
            refused: false,
            ledger: Ledger::default(),
            by_discovery: false,
        }
    }

    /// Connects, streams, renews; gives back why that ended.
    pub(super) async fn attempt(
        &mut self,
        node: &Rc<Node>,
        held: &Held,
        controller: &Controller,
    ) -> Result<Ended, AttemptError> {
        let counts = self.credential.as_ref().is_some_and(|credential| credential.counts(SystemTime::now()));
        let mut not_joined = None;
        if !counts || self.refused {
            let joined = match self.options.joining.read(&node.name) {
                Ok(invitation) => self.join(node, invitation).await,
                Err(error) => Err(error.into()),
            };
            // What is held may be believed again when the controller is itself again. The invitation
            // may be the one that it was got with, of a trust domain of before.
            if let Err(error) = joined {
                if !counts {
                    return Err(error);
                }
                not_joined = Some(error).filter(|error| !matches!(error, AttemptError::Invitation(_)));
            }
        }
        let Some(credential) = &mut self.credential else {
            return Err(self.options.joining.absent().into());
        };
        *node.discovery.certificate.borrow_mut() = Some(credential.shown());
        let bundle = believed(&node.trust.current(), &credential.bundle, self.by_discovery);
        let key = Some(credential.key());
        let dialled = match dial(&self.options.control, &mut self.known, key, Arc::clone(&bundle)).await {
            Ok(dialled) => dialled,
            Err(error) => {
                self.refused = matches!(error, DialError::Tls { .. });
                self.by_discovery ^= self.refused;
                return Err(not_joined.unwrap_or(error.into()));
            }
        };
        let run_dir = &self.options.run_dir;
        if bundle.trust_domain != credential.bundle.trust_domain {
            adopt(credential, &bundle, run_dir);
        }
        let before = node.trust.current();
        controller.connected(Some(dialled.channel.clone()));
        let result = tokio::select! {
            result = session::run(node, &dialled, held) => result.map(|()| Ended::Closed),
            renewed = renew_in_time(node, credential, &dialled, run_dir, &mut self.obtained) => {
                renewed.map(|()| Ended::Renewed)
            }
            never = report::run(node, &dialled, &mut self.ledger) => match never {},
        };
        // What came as the last thing counts too.
        let last = node.trust.current();
        if !Arc::ptr_eq(&before, &last) {
            adopt(credential, &last, run_dir);
        }
        let alert = dialled.fault().filter(|fault| matches!(fault, TlsFault::Refused(_)));
        self.refused = alert.is_some() || result.as_ref().is_err_and(is_refusal);
        match (not_joined.filter(|_| self.refused), alert, result) {
            // That the token was not taken says what to do.
            (Some(error), _, Err(_)) => Err(error),
            (_, Some(fault), Err(_)) => Err(AttemptError::Refused(fault)),
            (_, _, result) => Ok(result?),
        }
    }

    /// Gets the first certificate for the token of the invitation.
    async fn join(&mut self, node: &Node, invitation: Invitation) -> Result<(), AttemptError> {
        let Invitation { token, bundle } = invitation;
        let id = NodeId::new(&bundle.trust_domain, &node.name)?;
        let dialled = dial(&self.options.control, &mut self.known, None, Arc::clone(&bundle)).await?;
        let request = Request::new()?;
        let advice = self.options.joining.advice();
        let reply = issuer::join(dialled.channel, &node.name, token, request.csr.clone()).await.map_err(
            |status| {
                // The token is as good as before.
                let advice = if status.code() == Code::ResourceExhausted { ASKED_AGAIN } else { advice };
                AttemptError::Join { status, advice }
            },
        )?;
        let now = SystemTime::now();
        let credential = Credential::issued(&request, reply, &id, bundle, now)?;
        tracing::info!(%id, not_after = moment(&credential.not_after()), "joined the mesh");
        keep(&credential, &self.options.run_dir);
        self.credential = Some(credential);
        self.obtained = now;
        self.refused = false;
        Ok(())
    }
}

/// Whom to believe as the controller: the roots that discovery told and those joined with, since
/// the controller may have begun anew while this node was away. Where these are of two trust domains
/// either may be the newer one, so attempts take turns.
fn believed(current: &Arc<Bundle>, joined: &Arc<Bundle>, by_discovery: bool) -> Arc<Bundle> {
    if current.is_none() {
        return Arc::clone(joined);
    }
    if current.trust_domain != joined.trust_domain {
        return Arc::clone(if by_discovery { current } else { joined });
    }
    let mut roots = current.roots.clone();
    roots.extend(joined.roots.iter().filter(|root| !current.roots.contains(root)).cloned());
    let both = Bundle::new(&joined.trust_domain, roots, BTreeSet::new(), Vec::new());
    both.map_or_else(|_| Arc::clone(joined), Arc::new)
}

/// Takes over what the controller tells to believe, for the next connection and the next run.
fn adopt(credential: &mut Credential, bundle: &Arc<Bundle>, run_dir: &Path) {
    let known = &credential.bundle;
    let differs = known.roots != bundle.roots || known.trust_domain != bundle.trust_domain;
    if differs && !bundle.is_none() {
        credential.bundle = Arc::clone(bundle);
        keep(credential, run_dir);
    }
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
    let before = node.trust.current();
    let mut bundles = node.trust.changed();
    bundles.mark_changed();
    loop {
        if bundles.has_changed().unwrap_or(false) {
            let bundle = Arc::clone(&bundles.borrow_and_update());
            // One from before may be of a controller that is no more.
            if !Arc::ptr_eq(&before, &bundle) {
                adopt(credential, &bundle, run_dir);
            }
            let issuer = &bundle.issuer_key_id;
            let now = SystemTime::now();
            if !credential.is_of(&credential.bundle.trust_domain) {
                credential.schedule.reissue(now, random());
            } else if !issuer.is_empty() && credential.issuer_key_id() != issuer {
                credential.schedule.reissue(now.max(*obtained + ISSUER_SETTLES), random());
            }
        }
        let now = SystemTime::now();
        if credential.schedule.is_due(now) {
            match renew(node, credential, dialled).await {
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

async fn renew(node: &Node, credential: &Credential, dialled: &Dialled) -> Result<Credential, RenewError> {
    let request = Request::new()?;
    let reply =
        issuer::renew(dialled.channel.clone(), request.csr.clone()).await.map_err(RenewError::Status)?;
    // The certificate that is held may be of the trust domain of before.
    let id = NodeId::new(&credential.bundle.trust_domain, &node.name)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::believed;
    use crate::relay::tls::Bundle;
    use crate::relay::tls::testing::Authority;

    #[test]
    fn of_two_trust_domains_each_has_its_turn() {
        let (old, new) = (Arc::new(Authority::new("a").bundle()), Arc::new(Authority::new("b").bundle()));
        assert_eq!(believed(&new, &old, false), old);
        assert_eq!(believed(&new, &old, true), new);
        let none = Arc::new(Bundle::none());
        assert_eq!(believed(&none, &old, true), old);
        // Of one domain, the roots of both.
        let other = Arc::new(Authority::new("a").bundle());
        assert_eq!(believed(&other, &old, false).roots, [other.roots[0].clone(), old.roots[0].clone()]);
    }
}
