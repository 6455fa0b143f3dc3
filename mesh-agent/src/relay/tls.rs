//! TLS between nodes, and to the controller: what is spoken, and whom it is believed from.
//!
//! TLS 1.3 with the hybrid post-quantum key exchange preferred, ALPN `h2`, no server name, no
//! resumption: every connection proves both names anew. rustls's own verifiers match DNS names and
//! addresses only, so ours take from it what checks chains and signatures, and check themselves
//! what a SPIFFE identity asks for (X.509-SVID, sections 4 and 5): exactly one URI name, of this
//! trust domain, of a joining that is not revoked, and the one that is expected.
//!
//! | module | what it does |
//! |---|---|
//! | [`bundle`] | the roots and revocations in force |
//! | [`leaf`] | what is read of a certificate |
//! | [`verify`] | the decision, purely |
//! | [`verifier`] | rustls asks, `verify` answers |
//! | [`fault`] | what went wrong, as an operator needs it |

mod bundle;
mod fault;
mod leaf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;
mod verify;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use mesh_api::{NodeTag, SpiffeId};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, CommonState, ServerConfig};

use super::identity::Certificate;
use verifier::Verifier;

pub(crate) use bundle::{Bundle, BundleError, Trust};
pub(crate) use fault::{TlsFault, fault_of, moment};
pub(crate) use leaf::{Leaf, subject_key_id};
pub(crate) use verify::{End, Expected, still_admitted};

/// The one protocol spoken (RFC 9113, section 3.2).
pub(crate) const ALPN: &[u8] = b"h2";

/// The cryptography in use: aws-lc.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// What a peer proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerName {
    /// Its identity.
    pub id: SpiffeId,
    /// The joining of the node that it was issued to; `None` for a certificate that is not from
    /// the mesh's own controller.
    pub tag: Option<NodeTag>,
    /// When its certificate ends.
    pub not_after: SystemTime,
    /// Serial number of its certificate.
    pub serial: Vec<u8>,
}

/// How to open a tunnel as `certificate` to a peer that is one of `expected`.
pub(crate) fn client_config(
    certificate: &Certificate,
    trust: &Arc<Trust>,
    expected: BTreeSet<SpiffeId>,
) -> Arc<ClientConfig> {
    client(Arc::clone(trust), Expected::Workload(expected), Some(&certificate.key))
}

/// How to take tunnels as `certificate`, from any identity of the trust domain.
pub(crate) fn server_config(certificate: &Certificate, trust: &Arc<Trust>) -> Arc<ServerConfig> {
    let verifier = Verifier::new(Arc::clone(trust), Expected::AnyWorkload);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc has TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Arc::new(config)
}

/// How to reach the controller: with a node's key once there is one, else to join.
pub(crate) fn control_config(key: Option<&Arc<CertifiedKey>>, trust: &Arc<Trust>) -> Arc<ClientConfig> {
    client(Arc::clone(trust), Expected::Controller, key)
}

fn client(trust: Arc<Trust>, expected: Expected, key: Option<&Arc<CertifiedKey>>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(trust, expected)));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key)))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// What rustls wants to be told a server is called. It is never sent and never matched: names are
/// checked by [`Expected`].
pub(crate) fn server_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

/// Who the other end of a finished handshake is.
///
/// # Errors
/// When it did not agree on HTTP/2, or showed no certificate.
pub(crate) fn peer_of(connection: &CommonState) -> Result<PeerName, TlsFault> {
    match connection.alpn_protocol() {
        Some(ALPN) => {}
        other => {
            return Err(TlsFault::Protocol(other.map(|name| String::from_utf8_lossy(name).into_owned())));
        }
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    let leaf = Leaf::parse(chain.first().ok_or(TlsFault::NoClientCertificate)?)?;
    leaf.peer_name()
}

/// The cryptography in use.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Whether a peer that was believed would be now, by a bundle that may have changed since.
///
/// # Errors
/// Why not.
pub(crate) fn still_believed(
    bundle: &Bundle,
    chain: &[CertificateDer<'_>],
    end: End,
    now: SystemTime,
) -> Result<(), TlsFault> {
    let (leaf, intermediates) = chain.split_first().ok_or(TlsFault::NoClientCertificate)?;
    verify::verify(bundle, leaf, intermediates, now, end, &Expected::AnyWorkload)
}
