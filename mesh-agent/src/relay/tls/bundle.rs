//! The roots and revocations in force, shared by every thread.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use mesh_api::NodeTag;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;

use super::provider;

/// What certificates to believe.
pub(crate) struct Bundle {
    /// The trust domain that every name has to be of.
    pub trust_domain: String,
    /// Root certificates in DER.
    pub roots: Vec<CertificateDer<'static>>,
    /// Joinings of nodes whose certificates are refused.
    pub revoked: BTreeSet<NodeTag>,
    /// Subject key identifier of the issuer that signs now; empty when it is not known.
    pub issuer_key_id: Vec<u8>,
    anchors: Arc<RootCertStore>,
    /// Checks a client's chain; `None` while there is no root.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// A root that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("root certificate {index}: {problem}")]
pub(crate) struct BundleError {
    /// Which of the roots, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl Bundle {
    /// Believes in `roots`, for names of `trust_domain`.
    ///
    /// # Errors
    /// Names the first root that is no certificate.
    pub(crate) fn new(
        trust_domain: &str,
        roots: Vec<CertificateDer<'static>>,
        revoked: BTreeSet<NodeTag>,
        issuer_key_id: Vec<u8>,
    ) -> Result<Self, BundleError> {
        let mut anchors = RootCertStore::empty();
        for (index, root) in roots.iter().enumerate() {
            anchors.add(root.clone()).map_err(|error| BundleError { index, problem: error.to_string() })?;
        }
        let anchors = Arc::new(anchors);
        // The only way this fails is that there is no root: then nobody is believed.
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&anchors), provider()).build().ok();
        Ok(Self { trust_domain: trust_domain.to_owned(), roots, revoked, issuer_key_id, anchors, clients })
    }

    /// Believes nobody.
    pub(crate) fn none() -> Self {
        Self {
            trust_domain: String::new(),
            roots: Vec::new(),
            revoked: BTreeSet::new(),
            issuer_key_id: Vec::new(),
            anchors: Arc::new(RootCertStore::empty()),
            clients: None,
        }
    }

    /// Whether nobody can be believed, for want of a root.
    pub(crate) fn is_none(&self) -> bool {
        self.roots.is_empty()
    }

    /// The roots, as rustls checks chains against them.
    pub(super) fn anchors(&self) -> &RootCertStore {
        &self.anchors
    }

    /// What checks a client's chain.
    pub(super) fn clients(&self) -> Option<&Arc<dyn ClientCertVerifier>> {
        self.clients.as_ref()
    }
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain
            && self.roots == other.roots
            && self.revoked == other.revoked
            && self.issuer_key_id == other.issuer_key_id
    }
}

impl Eq for Bundle {}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("trust_domain", &self.trust_domain)
            .field("roots", &self.roots.len())
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// The bundle in force. Handshakes ask it when they verify, so a change holds from the next one on.
#[derive(Debug)]
pub(crate) struct Trust {
    current: watch::Sender<Arc<Bundle>>,
}

impl Default for Trust {
    fn default() -> Self {
        Self::new(Arc::new(Bundle::none()))
    }
}

impl Trust {
    /// Starts with a bundle.
    pub(crate) fn new(bundle: Arc<Bundle>) -> Self {
        Self { current: watch::Sender::new(bundle) }
    }

    /// The bundle in force.
    pub(crate) fn current(&self) -> Arc<Bundle> {
        Arc::clone(&self.current.borrow())
    }

    /// Puts a bundle in force; who watches is told when it differs.
    pub(crate) fn replace(&self, bundle: Arc<Bundle>) {
        self.current.send_if_modified(|current| {
            let differs = **current != *bundle;
            *current = bundle;
            differs
        });
    }

    /// Tells of every change.
    pub(crate) fn changed(&self) -> watch::Receiver<Arc<Bundle>> {
        self.current.subscribe()
    }
}
