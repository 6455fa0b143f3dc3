//! What the authority signs with: an issuer with its key, and the roots that vouch for it.

use std::fmt;

use mesh_api::NodeTag;
use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    origin::{GivenError, Origin},
    time::Timestamp,
};

/// The texts of an authority, in PEM: cert-manager's three, and the key of the root where the
/// controller has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Material {
    pub(super) origin: Origin,
    /// The issuer first, then what lies between it and a root.
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) roots: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) root_key: Option<String>,
}

impl fmt::Debug for Material {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Material {
    /// A hash of the certificates and keys, whatever their origin.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for text in [&self.chain, &self.key, &self.roots] {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

/// An authority, parsed and ready to sign.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    /// In DER, the issuer first, without roots: what goes with each leaf.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The issuer's subject key identifier.
    pub(super) key_id: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// When the last root that can vouch for the issuer expires.
    pub(super) root_not_after: Timestamp,
}

impl Signer {
    /// Parses what [`given::check`](super::given::check) has found good.
    pub(super) fn new(material: &Material) -> Result<Self, GivenError> {
        let origin = &material.origin;
        let unreadable = |key, why: String| GivenError::Unreadable { origin: origin.clone(), key, why };
        let chain = certificates(&material.chain).map_err(|why| unreadable("tls.crt", why))?;
        let roots = certificates(&material.roots).map_err(|why| unreadable("ca.crt", why))?;
        let key =
            KeyPair::from_pem(&material.key).map_err(|error| unreadable("tls.key", error.to_string()))?;
        let first = chain.first().ok_or_else(|| unreadable("tls.crt", "it is empty".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first)
            .map_err(|error| unreadable("tls.crt", error.to_string()))?;
        let validity = parsed.validity();
        let (not_before, not_after) = (
            Timestamp::from_unix(validity.not_before.timestamp()),
            Timestamp::from_unix(validity.not_after.timestamp()),
        );
        let key_id = key_identifier(&parsed).unwrap_or_else(|| {
            // RFC 7093, 2: the left of a SHA-256 of the key, where the certificate names none.
            Sha256::digest(key.der_bytes()).iter().take(20).copied().collect()
        });
        let issuer =
            Issuer::from_ca_cert_der(first, key).map_err(|error| unreadable("tls.crt", error.to_string()))?;
        let root_not_after = roots.iter().filter_map(expiry).max().unwrap_or_default();
        Ok(Self { issuer, chain, key_id, not_before, not_after, root_not_after })
    }

    /// What signs.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

impl fmt::Debug for Signer {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The certificates of a PEM text.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// A certificate's subject key identifier, if it names one.
pub(super) fn key_identifier(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn expiry(certificate: &CertificateDer<'static>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Timestamp::from_unix(parsed.validity().not_after.timestamp()))
}

/// The tag of the serial numbers that the controller gives its own certificates. No node can
/// have this name.
pub(super) fn controller_tag() -> NodeTag {
    NodeTag::new("/control", 0)
}
