//! How the controller answers TLS: with a certificate of its own authority, which it renews.

use std::{sync::Arc, time::Duration};

use mesh_api::{CONTROLLER_PATH, resources::TrustBundle};
use rcgen::KeyPair;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::{
    super::{
        generate::GenerateError,
        leaf,
        material::{Signer, certificates, controller_tag},
        random,
        state::State,
        time::Timestamp,
    },
    CaError,
};

/// The controller's own certificate, in use.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) config: Arc<ServerConfig>,
    /// What it was made from.
    roots: Vec<Vec<u8>>,
    issuer_key_id: Vec<u8>,
    trust_domain: String,
    renew_at: Timestamp,
}

impl Server {
    /// A new certificate for a new key, and the roots that clients must come from.
    pub(super) fn new(
        signer: &Signer,
        bundle: &TrustBundle,
        roots: &[CertificateDer<'static>],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(GenerateError::from)?;
        let uri = format!("spiffe://{}{CONTROLLER_PATH}", bundle.trust_domain);
        let serial = controller_tag().serial(random::bytes()?);
        let leaf = leaf::sign(signer, &uri, &key, serial, ttl, now).map_err(GenerateError::from)?;
        let failed = |error: &dyn std::fmt::Display| CaError::Tls(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).map_err(|error| failed(&error))?;
        }
        // Without a certificate a client may only join: each method asks for one by itself.
        let verifier = WebPkiClientVerifier::builder_with_provider(store.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| failed(&error))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(leaf.chain, key.into())
            .map_err(|error| failed(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Every connection shows its certificate anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            roots: bundle.roots.clone(),
            issuer_key_id: bundle.issuer_key_id.clone(),
            trust_domain: bundle.trust_domain.clone(),
            renew_at: now.after(leaf.not_after.since(now) / 2),
        })
    }

    /// Whether it still goes with what everybody believes.
    pub(super) fn is_good(&self, bundle: &TrustBundle, now: Timestamp) -> bool {
        self.roots == bundle.roots
            && self.issuer_key_id == bundle.issuer_key_id
            && self.trust_domain == bundle.trust_domain
            && now < self.renew_at
    }
}

/// Every root that is believed.
pub(super) fn roots(state: &State) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let mut roots = certificates(&state.roots()).map_err(CaError::Tls)?;
    let mut seen = Vec::new();
    roots.retain(|root| {
        let new = !seen.contains(root);
        seen.push(root.clone());
        new
    });
    Ok(roots)
}
