//! What the authority is asked for: to let a node join, to renew its certificate, to sign for a
//! pod, to replace the root.

use mesh_api::{NodeId, SpiffeId, SpiffeIdError};
use rcgen::PublicKey;
use rustls::pki_types::CertificateDer;

use super::{
    account::{self, Account, Proof},
    authority::{Authority, CaError, Inner},
    generate::{self, GenerateError},
    leaf::{self, RequestError},
    ledger::Issued,
    origin::Origin,
    peer::Peer,
    placement::Placement,
    random::{self, hex},
    rate::TooMany,
    report::{CaReport, IdentitiesReport, JoinReport, RevokedNode},
    review::{Agents, ReviewError},
    rotation::Phase,
    time::Timestamp,
    tokens::TokenError,
};
use crate::objects::ObjectName;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The join token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token of an agent's ServiceAccount.
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// Too often.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// No such pod.
    #[error("pod {0} is not known to the controller; it may have ended, or the source may be behind")]
    UnknownPod(String),
    /// The pod is elsewhere.
    #[error("pod {pod} is not on node {node}: a node is given the identities of its own pods only")]
    Elsewhere {
        /// The pod's UID.
        pod: String,
        /// Who asked.
        node: String,
    },
    /// The pod has ended.
    #[error("pod {0} has ended; nothing is signed for it")]
    Ended(String),
    /// The pod is not in the mesh.
    #[error("pod {0} is not enrolled; label it or its namespace mesh.internal/mode: enabled first")]
    NotEnrolled(String),
    /// More than one pod has the UID.
    #[error("UID {uid} is that of {pods}; give each pod a UID of its own, or none")]
    Ambiguous {
        /// The UID.
        uid: String,
        /// The pods.
        pods: String,
    },
    /// The service account's name cannot be in an identity.
    #[error(transparent)]
    Identity(#[from] SpiffeIdError),
}

impl From<super::files::FileError> for IssueError {
    fn from(error: super::files::FileError) -> Self {
        CaError::from(error).into()
    }
}

/// A certificate for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// In DER, the leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) issuer_key_id: Vec<u8>,
}

impl Authority {
    /// The first certificate of a node, for its join token.
    pub(super) fn join(
        &self,
        node: &str,
        token: &str,
        csr: &[u8],
        now: Timestamp,
    ) -> Result<Signed, IssueError> {
        let turn = self.turn();
        let inner = self.ready()?;
        if inner.state.nodes.tag(node).is_none() {
            return Err(CaError::NoSuchNode(node.chars().take(64).collect()).into());
        }
        // Anybody can ask: what costs something comes after the token is found good.
        inner.state.tokens.check(node, token, now)?;
        // A request that is refused costs no token.
        let key = leaf::requested_key(csr)?;
        let mut state = inner.state.clone();
        drop(inner);
        state.tokens.take(node, token, now)?;
        self.commit(&turn, state)?;
        if let Err(error) = self.joins.remove(node) {
            tracing::warn!(%error, "a used join file is left behind");
        }
        self.sign_node(&mut *self.ready()?, node, &key, now)
    }

    /// The certificate of the node that an agent's pod runs on, for what the API server said of its
    /// token. The token is good for more than one: an agent that restarts is the same agent.
    pub(super) fn join_as(
        &self,
        claimed: &str,
        account: &Account,
        proof: &Proof,
        csr: &[u8],
        now: Timestamp,
    ) -> Result<Signed, IssueError> {
        let mut inner = self.ready()?;
        let pods = self.placements.of_uid(&proof.pod_uid);
        let node = account::node(proof, pods, account, claimed).map_err(ReviewError::from)?;
        if inner.state.nodes.tag(&node).is_none() {
            return Err(CaError::NoSuchNode(node).into());
        }
        inner.rates.take(&node, now)?;
        let key = leaf::requested_key(csr)?;
        let signed = self.sign_node(&mut inner, &node, &key, now)?;
        tracing::info!(node, agent_uid = proof.pod_uid, "node joined by its agent's token");
        Ok(signed)
    }

    /// A new certificate of a node that has one.
    pub(super) fn renew(&self, peer: &Peer, csr: &[u8], now: Timestamp) -> Result<Signed, IssueError> {
        let mut inner = self.ready()?;
        let node = peer.id.name();
        inner.rates.take(node, now)?;
        let key = leaf::requested_key(csr)?;
        self.sign_node(&mut inner, node, &key, now)
    }

    /// The certificate of a pod's service account, for the node that it runs on.
    pub(super) fn issue(
        &self,
        peer: &Peer,
        pod_uid: &str,
        csr: &[u8],
        now: Timestamp,
    ) -> Result<Signed, IssueError> {
        let mut inner = self.ready()?;
        let node = peer.id.name();
        inner.rates.take(node, now)?;
        let (name, pod) = entitled(node, pod_uid, self.placements.of_uid(pod_uid))?;
        let id = SpiffeId::new(&inner.state.trust_domain, &name.namespace, &pod.service_account)?;
        let key = leaf::requested_key(csr)?;
        self.sign(&mut inner, node, &id.to_string(), pod_uid, &key, now)
    }

    fn sign_node(
        &self,
        inner: &mut Inner,
        node: &str,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<Signed, IssueError> {
        let id = NodeId::new(&inner.state.trust_domain, node);
        let id = id.map_err(|_| CaError::NoSuchNode(node.to_owned()))?;
        self.sign(inner, node, &id.to_string(), "", key, now)
    }

    fn sign(
        &self,
        inner: &mut Inner,
        node: &str,
        identity: &str,
        pod_uid: &str,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<Signed, IssueError> {
        let tag = inner.state.nodes.tag(node).ok_or_else(|| CaError::NoSuchNode(node.to_owned()))?;
        let (Some(signer), Some(demand)) = (&inner.signer, &inner.demand) else {
            return Err(CaError::NotReady.into());
        };
        let serial = tag.serial(random::bytes().map_err(CaError::from)?);
        let ttl = demand.settings.workload_ttl;
        let signed = leaf::sign(signer, identity, key, serial, ttl, now);
        let leaf = signed.map_err(|error| CaError::from(GenerateError::from(error)))?;
        let issued = Issued {
            node: node.to_owned(),
            identity: identity.to_owned(),
            pod_uid: pod_uid.to_owned(),
            serial: hex(&serial),
            issued: now,
            expires: leaf.not_after,
            issuer_key_id: hex(&signer.key_id),
            generation: inner.state.generation,
        };
        let issuer_key_id = signer.key_id.clone();
        inner.ledger.record(issued.clone())?;
        tracing::info!(
            pod_uid,
            node,
            identity,
            serial = %issued.serial,
            expires = %issued.expires,
            "certificate issued"
        );
        Ok(Signed { chain: leaf.chain, issuer_key_id })
    }

    fn ready(&self) -> Result<std::sync::MutexGuard<'_, Inner>, CaError> {
        let inner = self.lock();
        if inner.signer.is_some() && inner.demand.is_some() { Ok(inner) } else { Err(CaError::NotReady) }
    }

    /// Begins to replace the root by one that the controller makes.
    ///
    /// # Errors
    /// When the authority is somebody else's, or a replacement is under way.
    pub fn rotate(&self, now: Timestamp) -> Result<CaReport, CaError> {
        let turn = self.turn();
        let inner = self.ready()?;
        let phase = inner.state.rotation.phase;
        if phase != Phase::Stable {
            return Err(CaError::UnderWay(phase));
        }
        let (Some(current), Some(demand)) = (&inner.state.current, &inner.demand) else {
            return Err(CaError::NotReady);
        };
        if current.origin != Origin::Generated {
            return Err(CaError::NotOurs(current.origin.to_string()));
        }
        let settings = &demand.settings;
        let mut state = inner.state.clone();
        state.replace_root(generate::root(settings.root_ttl, settings.issuer_ttl, now)?, now);
        drop(inner);
        self.commit(&turn, state)?;
        Ok(self.report(now))
    }

    /// A new join token for a node; one that it had is no longer good.
    ///
    /// # Errors
    /// When there is no such node, or the file cannot be written.
    pub fn invite_again(&self, node: &str, now: Timestamp) -> Result<JoinReport, CaError> {
        let turn = self.turn();
        let inner = self.ready()?;
        if self.agents.is_some() {
            return Err(CaError::NoJoinFiles(node.chars().take(64).collect()));
        }
        if inner.state.nodes.tag(node).is_none() || NodeId::new(&inner.state.trust_domain, node).is_err() {
            return Err(CaError::NoSuchNode(node.to_owned()));
        }
        drop(inner);
        let (path, expires) = self.make_join(&turn, node, now)?;
        Ok(JoinReport { node: node.to_owned(), file: path.display().to_string(), expires })
    }

    /// How the authority is.
    pub fn report(&self, now: Timestamp) -> CaReport {
        let tokens_not_asked = self.agents.as_ref().map_or(0, Agents::not_asked);
        CaReport { tokens_not_asked, ..report(&self.lock(), now) }
    }

    /// Why the authority that is asked for is not the one that signs, if so.
    pub(super) fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    /// Every live certificate.
    pub fn identities(&self, now: Timestamp) -> IdentitiesReport {
        let inner = self.lock();
        let live = inner.ledger.live().filter(|issued| now <= issued.expires);
        IdentitiesReport { now, identities: live.cloned().collect() }
    }
}

/// The pod that a node may have a certificate for: bound to that node, not ended, enrolled.
fn entitled(
    node: &str,
    uid: &str,
    pods: Vec<(ObjectName, Placement)>,
) -> Result<(ObjectName, Placement), IssueError> {
    if pods.len() > 1 {
        let pods: Vec<_> = pods.iter().map(|(name, _)| name.to_string()).collect();
        return Err(IssueError::Ambiguous { uid: uid.to_owned(), pods: pods.join(", ") });
    }
    let shown = || uid.chars().take(64).collect::<String>();
    let (name, pod) = pods.into_iter().next().ok_or_else(|| IssueError::UnknownPod(shown()))?;
    let pod_name = || format!("{name} ({uid})");
    if pod.node != node {
        // Another node's pod is not named to this one.
        return Err(IssueError::Elsewhere { pod: shown(), node: node.to_owned() });
    }
    if pod.ended {
        return Err(IssueError::Ended(pod_name()));
    }
    if !pod.enrolled {
        return Err(IssueError::NotEnrolled(pod_name()));
    }
    Ok((name, pod))
}

fn report(inner: &Inner, now: Timestamp) -> CaReport {
    let state = &inner.state;
    let progress = inner.progress;
    let counted = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let waiting_for = match state.rotation.phase {
        Phase::Stable => Vec::new(),
        Phase::Distributing => vec![
            counted(progress.unaware, "connected nodes that have not acknowledged the new root"),
            counted(progress.absent, "nodes that are not connected"),
        ],
        Phase::Reissuing => vec![counted(progress.outstanding, "certificates of the old root")],
    };
    let signer = inner.signer.as_ref();
    CaReport {
        trust_domain: state.trust_domain.clone(),
        origin: state.current.as_ref().map(|current| current.origin.to_string()).unwrap_or_default(),
        phase: state.rotation.phase,
        phase_since: state.rotation.since,
        waiting_for: waiting_for.into_iter().flatten().collect(),
        generation: state.generation,
        issuer_key_id: signer.map(|signer| hex(&signer.key_id)).unwrap_or_default(),
        issuer_expires: signer.map(|signer| signer.not_after).unwrap_or_default(),
        root_expires: signer.map(|signer| signer.root_not_after).unwrap_or_default(),
        roots: super::material::certificates(&state.roots()).map_or(0, |roots| roots.len()),
        live: inner.ledger.live().filter(|issued| now <= issued.expires).count(),
        revoked: state
            .nodes
            .revoked_nodes()
            .map(|(node, until)| RevokedNode { node: node.to_owned(), until })
            .collect(),
        joining: state
            .nodes
            .names()
            .filter(|node| state.tokens.is_open(node, now))
            .map(ToOwned::to_owned)
            .collect(),
        tokens_not_asked: 0,
        problem: inner.problem.clone(),
    }
}
