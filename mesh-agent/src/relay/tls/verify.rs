//! Whether a peer is who it has to be: a function of its certificates, the bundle and the time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::{CONTROLLER_PATH, NodeTag, SpiffeId};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

use super::fault::of_rustls;
use super::leaf::{Leaf, Unnamed};
use super::{Bundle, TlsFault, provider};

/// How far the clocks of two nodes may be apart before a certificate that was just issued is not
/// valid yet. Nothing is given at the other end: a certificate is renewed long before.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Whom a peer has to prove to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One of these workloads.
    Workload(BTreeSet<SpiffeId>),
    /// Any workload of the trust domain; what it may do is policy's to say.
    AnyWorkload,
    /// The controller.
    Controller,
}

/// Which end of a connection the peer is: certificates may be limited to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was connected to.
    Server,
    /// It connected.
    Client,
}

/// Checks a peer's certificates, in the order of what is most wrong: chain, time, revocation, name. Of
/// a certificate without a chain nothing is read that could be long.
pub(super) fn verify(
    bundle: &Bundle,
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: SystemTime,
    end: End,
    expected: &Expected,
) -> Result<(), TlsFault> {
    if bundle.is_none() {
        return Err(TlsFault::NoRoots);
    }
    let leaf = Unnamed::parse(certificate)?;
    // The chain is checked as of a time at which the leaf counts: whether it counts now is said
    // below, after whether it is to be believed at all.
    let within = now.min(leaf.not_after).max(leaf.not_before);
    chain(bundle, certificate, intermediates, within, end)?;
    if now > leaf.not_after {
        return Err(TlsFault::Expired { not_after: leaf.not_after, now });
    }
    if now + CLOCK_SKEW < leaf.not_before {
        return Err(TlsFault::NotYetValid { not_before: leaf.not_before, now });
    }
    if leaf.tag().is_some_and(|tag| bundle.revoked.contains(&tag)) {
        return Err(TlsFault::Revoked);
    }
    name(bundle, &leaf.named()?, expected)
}

/// Whether a peer that was believed must not be here at all, whatever its chain and the time are by
/// now: its node was removed, or the mesh is another one. A tunnel may outlive its certificate and its
/// root, and both of these hold all the same.
///
/// # Errors
/// Which of both.
pub(crate) fn still_admitted(bundle: &Bundle, id: &SpiffeId, tag: Option<NodeTag>) -> Result<(), TlsFault> {
    if tag.is_some_and(|tag| bundle.revoked.contains(&tag)) {
        return Err(TlsFault::Revoked);
    }
    if !bundle.is_none() && id.trust_domain() != bundle.trust_domain {
        return Err(TlsFault::TrustDomain { expected: bundle.trust_domain.clone(), got: id.to_string() });
    }
    Ok(())
}

fn chain(
    bundle: &Bundle,
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    at: SystemTime,
    end: End,
) -> Result<(), TlsFault> {
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    match end {
        End::Server => ParsedCertificate::try_from(certificate).and_then(|parsed| {
            let algorithms = provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                bundle.anchors(),
                intermediates,
                at,
                algorithms,
            )
        }),
        End::Client => {
            let verifier = bundle.clients().ok_or(TlsFault::NoRoots)?;
            verifier.verify_client_cert(certificate, intermediates, at).map(|_| ())
        }
    }
    .map_err(|error| of_rustls(&error))
}

fn name(bundle: &Bundle, leaf: &Leaf, expected: &Expected) -> Result<(), TlsFault> {
    if *expected == Expected::Controller {
        let controller = format!("spiffe://{}{CONTROLLER_PATH}", bundle.trust_domain);
        if leaf.uri == controller {
            return Ok(());
        }
        return Err(TlsFault::Name { expected: vec![controller], got: leaf.uri.clone() });
    }
    let peer = leaf.peer_name()?;
    if peer.id.trust_domain() != bundle.trust_domain {
        return Err(TlsFault::TrustDomain { expected: bundle.trust_domain.clone(), got: leaf.uri.clone() });
    }
    match expected {
        Expected::Workload(ids) if !ids.contains(&peer.id) => Err(TlsFault::Name {
            expected: ids.iter().map(ToString::to_string).collect(),
            got: leaf.uri.clone(),
        }),
        _ => Ok(()),
    }
}
