//! What everybody is to believe now, and whom the controller serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::{NodeId, NodeTag, resources::TrustBundle};

use super::{peer::Peer, time::Timestamp};

/// One state of it, for whoever serves.
#[derive(Debug, Clone)]
pub struct Trust {
    pub(super) domains: BTreeSet<String>,
    pub(super) tags: BTreeMap<String, NodeTag>,
    pub(super) revoked: BTreeSet<NodeTag>,
    pub(super) bundle: TrustBundle,
    pub(super) server: Arc<rustls::ServerConfig>,
}

/// Why a node is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another mesh's.
    #[error("{0} is of another trust domain than this mesh; let the node join this one")]
    TrustDomain(NodeId),
    /// Removed, perhaps added again since.
    #[error(
        "node {0} has been removed since it joined: its certificates are refused; if it is back, join with its new join file"
    )]
    Revoked(String),
    /// Too old.
    #[error(
        "the certificate of node {node} expired at {at}; connect with the renewed one, or join with a new join file"
    )]
    Expired {
        /// Whose.
        node: String,
        /// When.
        at: Timestamp,
    },
}

impl Trust {
    /// What nodes are sent.
    #[must_use]
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// How the controller answers connections.
    pub(crate) fn server(&self) -> Arc<rustls::ServerConfig> {
        self.server.clone()
    }

    /// Whether nothing differs that anybody could notice.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server)
            && self.bundle == other.bundle
            && self.tags == other.tags
            && self.domains == other.domains
    }

    /// Whether a node is served now.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, peer: &Peer, now: Timestamp) -> Result<(), Refusal> {
        let node = peer.id.name();
        if !self.domains.contains(peer.id.trust_domain()) {
            return Err(Refusal::TrustDomain(peer.id.clone()));
        }
        if self.revoked.contains(&peer.tag) || self.tags.get(node) != Some(&peer.tag) {
            return Err(Refusal::Revoked(node.to_owned()));
        }
        if now > peer.not_after {
            return Err(Refusal::Expired { node: node.to_owned(), at: peer.not_after });
        }
        Ok(())
    }
}
