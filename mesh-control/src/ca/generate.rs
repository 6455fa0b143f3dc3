//! Makes roots and issuers.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};

use super::{
    material::Material,
    origin::Origin,
    random::{self, NoRandom},
    time::Timestamp,
};

/// Why a root or an issuer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing random.
    #[error(transparent)]
    Random(#[from] NoRandom),
    /// The library refused.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// There is no root key to sign with.
    #[error(
        "the key of the root is not here, so no new issuer can be made under it; renew it where it comes from: {0}"
    )]
    NoRootKey(Origin),
}

/// Clocks of nodes may be behind the controller's by this much.
const SKEW: Duration = Duration::from_secs(300);

/// A new root and an issuer under it.
pub(super) fn root(
    root_ttl: Duration,
    issuer_ttl: Duration,
    now: Timestamp,
) -> Result<Material, GenerateError> {
    let key = KeyPair::generate()?;
    let mut params = authority("mesh root", BasicConstraints::Constrained(1), root_ttl, now)?;
    params.use_authority_key_identifier_extension = false;
    let certificate = params.self_signed(&key)?;
    let material = Material {
        origin: Origin::Generated,
        chain: String::new(),
        key: String::new(),
        roots: certificate.pem(),
        root_key: Some(key.serialize_pem()),
    };
    issuer(&material, issuer_ttl, now.after(root_ttl), now)
}

/// The same root with a new issuer, which does not outlive it.
pub(super) fn issuer(
    material: &Material,
    ttl: Duration,
    root_not_after: Timestamp,
    now: Timestamp,
) -> Result<Material, GenerateError> {
    let root_key = material.root_key.as_deref();
    let root_key = root_key.ok_or_else(|| GenerateError::NoRootKey(material.origin.clone()))?;
    let root = Issuer::from_ca_cert_pem(&material.roots, KeyPair::from_pem(root_key)?)?;
    let key = KeyPair::generate()?;
    // No name constraint: rustls' verifier refuses every URI under one (SEMANTICS 9.4).
    let ttl = ttl.min(root_not_after.since(now));
    let params = authority("mesh issuer", BasicConstraints::Constrained(0), ttl, now)?;
    let certificate = params.signed_by(&key, &root)?;
    Ok(Material { chain: certificate.pem(), key: key.serialize_pem(), ..material.clone() })
}

fn authority(
    name: &str,
    constraints: BasicConstraints,
    ttl: Duration,
    now: Timestamp,
) -> Result<CertificateParams, GenerateError> {
    let mut serial: [u8; 16] = random::bytes()?;
    // Positive, and without a zero in front (RFC 5280, 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "mesh.internal");
    // Chains are built by subject, so each has its own.
    subject.push(DnType::CommonName, format!("{name} {}", random::hex(&serial[..4])));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = now.before(SKEW).system().into();
    params.not_after = now.after(ttl).system().into();
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
