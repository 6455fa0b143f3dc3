//! An authority that somebody gives: checked in full before anything is signed with it.

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use super::{
    material::{Material, certificates},
    origin::{GivenError, Origin},
    time::Timestamp,
};

/// The keys of a Secret of type `kubernetes.io/tls` as cert-manager writes it, and the names of
/// the files of the controller's directory.
pub(crate) const KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// Checks that an authority can sign now and that its roots vouch for it.
pub(super) fn check(material: &Material, now: Timestamp) -> Result<(), GivenError> {
    let origin = &material.origin;
    for (key, text) in KEYS.into_iter().zip([&material.chain, &material.key, &material.roots]) {
        if text.trim().is_empty() {
            return Err(GivenError::Missing { origin: origin.clone(), key });
        }
    }
    let unreadable = |key, why: String| GivenError::Unreadable { origin: origin.clone(), key, why };
    let chain = certificates(&material.chain).map_err(|why| unreadable("tls.crt", why))?;
    let roots = certificates(&material.roots).map_err(|why| unreadable("ca.crt", why))?;
    let chain = parsed(&chain).map_err(|why| unreadable("tls.crt", why))?;
    let roots = parsed(&roots).map_err(|why| unreadable("ca.crt", why))?;
    let key = KeyPair::from_pem(&material.key).map_err(|error| unreadable("tls.key", error.to_string()))?;
    let Some(issuer) = chain.first() else {
        return Err(unreadable("tls.crt", "there is no certificate in it".to_owned()));
    };
    if roots.is_empty() {
        return Err(unreadable("ca.crt", "there is no certificate in it".to_owned()));
    }
    if *issuer.public_key().subject_public_key.data != *key.der_bytes() {
        return Err(GivenError::KeyMismatch(origin.clone()));
    }
    for certificate in &chain {
        check_authority(certificate, origin)?;
        check_time(certificate, "tls.crt", origin, now)?;
    }
    check_path(&chain, &roots, origin, now)
}

fn parsed<'a>(all: &'a [CertificateDer<'static>]) -> Result<Vec<X509Certificate<'a>>, String> {
    let parse = |der: &'a CertificateDer<'static>| {
        x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed).map_err(|error| error.to_string())
    };
    all.iter().map(parse).collect()
}

fn check_authority(certificate: &X509Certificate<'_>, origin: &Origin) -> Result<(), GivenError> {
    let refused = |why| {
        let subject = certificate.subject().to_string();
        Err(GivenError::NotAuthority { origin: origin.clone(), subject, why })
    };
    if !certificate.is_ca() {
        return refused("is not a CA");
    }
    let usage = certificate.key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return refused("lacks the key usage keyCertSign");
    }
    // rustls refuses every URI name under a name constraint (SEMANTICS 9.4).
    if certificate.name_constraints().ok().flatten().is_some() {
        return refused("has a name constraint, under which no SPIFFE ID is accepted");
    }
    Ok(())
}

fn check_time(
    certificate: &X509Certificate<'_>,
    key: &'static str,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), GivenError> {
    let validity = certificate.validity();
    let from = Timestamp::from_unix(validity.not_before.timestamp());
    let to = Timestamp::from_unix(validity.not_after.timestamp());
    if (from..=to).contains(&now) {
        return Ok(());
    }
    let subject = certificate.subject().to_string();
    Err(GivenError::NotNow { origin: origin.clone(), key, subject, from, to })
}

/// Each of the chain is signed by the next, the last by a root that is valid now.
fn check_path(
    chain: &[X509Certificate<'_>],
    roots: &[X509Certificate<'_>],
    origin: &Origin,
    now: Timestamp,
) -> Result<(), GivenError> {
    let signed_by = |certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>| {
        certificate.issuer() == issuer.subject()
            && certificate.verify_signature(Some(issuer.public_key())).is_ok()
    };
    for (index, certificate) in chain.iter().enumerate() {
        let is_root = |root: &&X509Certificate<'_>| {
            signed_by(certificate, root)
                || root.tbs_certificate.as_ref() == certificate.tbs_certificate.as_ref()
        };
        if let Some(root) = roots.iter().find(is_root) {
            return check_time(root, "ca.crt", origin, now);
        }
        if !chain.get(index + 1).is_some_and(|next| signed_by(certificate, next)) {
            let subject = certificate.subject().to_string();
            return Err(GivenError::NoPath { origin: origin.clone(), subject });
        }
    }
    Ok(())
}
