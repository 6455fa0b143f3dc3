//! Requests and the certificates that are made for them.
//!
//! Of a request only the key counts, and the signature that shows that whoever asks has it. Every
//! name in it is ignored: the controller says who somebody is.

use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{material::Signer, time::Timestamp};

/// The longest request that is read.
pub(super) const REQUEST_BYTES: usize = 4096;
/// An uncompressed point of P-256: a byte and two coordinates (SEC 1, 2.3.3).
const P256_POINT: usize = 65;
/// Clocks may differ by this much. Certificates begin earlier by a part of their life within it.
const SKEW: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is too long.
    #[error(
        "csr has {0} bytes, more than {REQUEST_BYTES}; send a PKCS #10 request in DER without extensions"
    )]
    TooLong(usize),
    /// It cannot be read, or its signature is not by its key.
    #[error("csr: {0}; send a PKCS #10 request in DER, signed with its own P-256 key")]
    Unreadable(String),
    /// Its key is of another kind.
    #[error("csr has a key that is not P-256; make an ECDSA P-256 key")]
    Key,
}

/// Reads a request in DER and verifies it; gives its key.
pub(super) fn requested_key(csr: &[u8]) -> Result<PublicKey, RequestError> {
    if csr.len() > REQUEST_BYTES {
        return Err(RequestError::TooLong(csr.len()));
    }
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr));
    let key = request.map_err(|error| RequestError::Unreadable(error.to_string()))?.public_key;
    if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != P256_POINT {
        return Err(RequestError::Key);
    }
    Ok(key)
}

/// A certificate that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// In DER, the leaf first, without the root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) not_after: Timestamp,
}

/// Signs `uri` for a key. The certificate does not outlive the issuer.
pub(super) fn sign(
    signer: &Signer,
    uri: &str,
    key: &impl PublicKeyData,
    serial: [u8; 16],
    ttl: Duration,
    now: Timestamp,
) -> Result<Leaf, rcgen::Error> {
    let not_after = now.after(ttl).min(signer.not_after);
    let mut params = CertificateParams::default();
    // The name is in the URI; an empty subject makes that critical (RFC 5280, 4.2.1.6).
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = now.before((ttl / 4).clamp(SKEW.0, SKEW.1)).system().into();
    params.not_after = not_after.system().into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(key, signer.issuer())?;
    let chain = [certificate.into()].into_iter().chain(signer.chain.iter().cloned()).collect();
    Ok(Leaf { chain, not_after })
}
