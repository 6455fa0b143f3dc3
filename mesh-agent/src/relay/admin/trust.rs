//! What the node believes, is believed by, and carries through the tunnel: parts of `GET /status`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use serde::Serialize;

use super::identities::hexadecimal;
use crate::relay::node::Node;
use crate::relay::telemetry::{IdentityState, seconds_until};
use crate::relay::tls::{moment, subject_key_id};

/// The node's own certificate.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    id: String,
    not_after: String,
    expires_in_seconds: i64,
    /// Subject key identifier of its issuer, hexadecimal.
    issuer: String,
}

/// What certificates are believed.
#[derive(Debug, Serialize)]
pub(super) struct Trust {
    trust_domain: String,
    /// Subject key identifiers of the roots, hexadecimal.
    roots: Vec<String>,
    /// The issuer that signs now.
    issuer: String,
    /// Joinings of removed nodes whose certificates are refused.
    revoked: Vec<String>,
    /// Identities of the node's pods, and how many of them have a certificate that counts.
    identities: usize,
    identities_valid: usize,
}

/// What goes through the tunnel now.
#[derive(Debug, Serialize)]
pub(super) struct Tunnel {
    connections_outbound: u64,
    connections_inbound: u64,
    tunnels_outbound: u64,
    tunnels_inbound: u64,
    handshakes_under_way: u64,
    /// Since relay started.
    established: u64,
    shed: u64,
}

pub(super) fn certificate(node: &Node) -> Option<Certificate> {
    let certificate = node.discovery.certificate.borrow();
    certificate.as_ref().map(|certificate| Certificate {
        id: certificate.id.clone(),
        not_after: moment(&certificate.not_after),
        expires_in_seconds: seconds_until(certificate.not_after, SystemTime::now()),
        issuer: hexadecimal(&certificate.issuer_key_id),
    })
}

pub(super) fn trust(node: &Node) -> Trust {
    let now = SystemTime::now();
    let bundle = node.trust.current();
    let identities = node.identities.standing();
    let valid = identities.iter().filter(|standing| IdentityState::of(standing, now) == IdentityState::Valid);
    Trust {
        trust_domain: bundle.trust_domain.clone(),
        roots: bundle.roots.iter().filter_map(subject_key_id).map(|id| hexadecimal(&id)).collect(),
        issuer: hexadecimal(&bundle.issuer_key_id),
        revoked: bundle.revoked.iter().map(ToString::to_string).collect(),
        identities_valid: valid.count(),
        identities: identities.len(),
    }
}

/// What is wrong with certificates, and with the state they and everything else come from.
pub(super) fn problems(node: &Node, now: SystemTime) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(node.discovery.stale(now));
    match node.discovery.snapshot_trouble.borrow().as_str() {
        "" => {}
        why => problems.push(format!("the discovery state is not kept on disk: {why}")),
    }
    for standing in node.identities.standing() {
        let state = IdentityState::of(&standing, now);
        let id = &standing.id;
        match (state, standing.trouble.as_str()) {
            (_, "") => {}
            (IdentityState::Valid, why) => {
                problems.push(format!("the certificate of {id} still counts and is not renewed: {why}"));
            }
            (state, why) => problems.push(format!("{id} has no certificate ({}): {why}", state.name())),
        }
    }
    problems
}

pub(super) fn tunnel(node: &Node) -> Tunnel {
    let counts = &node.tunnel;
    let now = |count: &AtomicU64| count.load(Relaxed);
    Tunnel {
        connections_outbound: now(&counts.outbound_open),
        connections_inbound: now(&counts.inbound_open),
        tunnels_outbound: now(&counts.tunnels_out),
        tunnels_inbound: now(&counts.tunnels_in),
        handshakes_under_way: now(&counts.handshakes_under_way),
        established: now(&counts.established),
        shed: now(&counts.shed),
    }
}
