//! A key, the request for its certificate, and what came back.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_api::SpiffeId;
use mesh_api::certificates::CertificateReply;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::relay::tls::{Leaf, TlsFault, provider};

/// A certificate of a workload, with the key it is for.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The identity in it.
    pub id: SpiffeId,
    /// The chain and its key, as TLS uses them.
    pub key: Arc<CertifiedKey>,
    /// It counts from here.
    pub not_before: SystemTime,
    /// It counts up to here.
    pub not_after: SystemTime,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// Subject key identifier of the issuer that signed it.
    pub issuer_key_id: Vec<u8>,
}

/// Why a certificate cannot be asked for, or is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    /// No key or request could be made.
    #[error("making a P-256 key and its request: {0}")]
    Key(String),
    /// The answer has no certificate.
    #[error("the controller answered with no certificate")]
    Empty,
    /// The answer is no certificate of ours.
    #[error("the controller's certificate cannot be taken: {0}")]
    Unreadable(#[from] TlsFault),
    /// It is for another name.
    #[error("the controller issued `{got}` where `{wanted}` was asked for")]
    Name {
        /// What was asked for.
        wanted: String,
        /// What came.
        got: String,
    },
    /// It is for another key.
    #[error("the controller's certificate is not for the key it was asked for: {0}")]
    KeyMismatch(String),
}

/// A fresh key and the request for its certificate.
#[derive(Debug)]
pub(crate) struct Request {
    key: KeyPair,
    /// PKCS #10 in DER. Names in it would be ignored, so there is none.
    pub csr: Vec<u8>,
}

impl Request {
    /// Makes a P-256 key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn new() -> Result<Self, CertificateError> {
        let failed = |error: rcgen::Error| CertificateError::Key(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let csr = CertificateParams::default().serialize_request(&key).map_err(failed)?;
        Ok(Self { key, csr: csr.der().to_vec() })
    }

    /// The private key in PKCS #8, for the one key that may be kept: the node's.
    pub(crate) fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// Checks that a reply is for this key and `name`.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn accept(&self, reply: CertificateReply, name: &str) -> Result<Issued, CertificateError> {
        Issued::new(self.key.serialized_der(), reply, name)
    }
}

/// A certificate that fits its key and its name, whoever's it is.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The chain and its key, as TLS uses them.
    pub key: Arc<CertifiedKey>,
    /// What the leaf says.
    pub leaf: Leaf,
    /// Subject key identifier of the issuer that signed it.
    pub issuer_key_id: Vec<u8>,
}

impl Issued {
    /// Puts a key and its certificates together.
    ///
    /// # Errors
    /// When they do not belong together, or the name is not the one wanted.
    pub(crate) fn new(key_der: &[u8], reply: CertificateReply, name: &str) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = reply.chain.into_iter().map(CertificateDer::from).collect();
        let leaf = Leaf::parse(chain.first().ok_or(CertificateError::Empty)?)?;
        if leaf.uri != name {
            return Err(CertificateError::Name { wanted: name.to_owned(), got: leaf.uri });
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_der.to_vec()));
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| CertificateError::KeyMismatch(error.to_string()))?;
        Ok(Self { key: Arc::new(key), leaf, issuer_key_id: reply.issuer_key_id })
    }

    /// The same as a workload's.
    pub(super) fn of_workload(self, id: SpiffeId) -> Certificate {
        Certificate {
            id,
            key: self.key,
            not_before: self.leaf.not_before,
            not_after: self.leaf.not_after,
            serial: self.leaf.serial,
            issuer_key_id: self.issuer_key_id,
        }
    }
}
