//! Certificates: how many identities there are and how they stand, and how long certificates count.

use std::time::SystemTime;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::Families;
use super::{StateLabels, signed};
use crate::relay::identity::Standing;

/// How certificates are.
#[derive(Debug)]
pub(super) struct Identity {
    identities: Family<StateLabels, Gauge>,
    failing: Gauge,
    expiry: Gauge,
    node_expiry: Gauge,
    roots: Gauge,
    revoked: Gauge,
}

/// How the certificate of an identity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// There is one that counts.
    Valid,
    /// None has come yet.
    Awaited,
    /// None has come, and the last attempt failed.
    Failed,
    /// It has ended and no other came.
    Expired,
}

impl State {
    const ALL: [Self; 4] = [Self::Valid, Self::Awaited, Self::Failed, Self::Expired];

    /// How `standing` is at `now`.
    pub(crate) fn of(standing: &Standing, now: SystemTime) -> Self {
        match &standing.certificate {
            Some(certificate) if now < certificate.not_after => Self::Valid,
            Some(_) => Self::Expired,
            None if standing.attempts == 0 => Self::Awaited,
            None => Self::Failed,
        }
    }

    /// Its name in metrics and CLI.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Awaited => "awaited",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// What a node believes and is believed by.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NodeTrust {
    /// When the node's own certificate ends; `None` without one.
    pub certificate_ends: Option<SystemTime>,
    /// Roots believed.
    pub roots: usize,
    /// Joinings of nodes whose certificates are refused.
    pub revoked: usize,
}

impl Identity {
    /// All of them, at zero.
    pub(super) fn new(families: &mut Families<'_>) -> Self {
        Self {
            identities: families.gauges("identities", "Identities of this node's pods, by state"),
            failing: families.gauge(
                "identities_renewal_failing",
                "Identities whose last attempt for a certificate failed",
            ),
            expiry: families.gauge(
                "identity_expiry_seconds",
                "Until the first of the identities' certificates ends, negative after; 0 without identities",
            ),
            node_expiry: families.gauge(
                "node_certificate_expiry_seconds",
                "Until the node's own certificate ends, negative after; 0 without one",
            ),
            roots: families.gauge("trust_roots", "Root certificates believed; two while the root is rotated"),
            revoked: families
                .gauge("trust_revoked", "Joinings of removed nodes whose certificates are refused"),
        }
    }

    /// Sets them to how things are at `now`.
    pub(super) fn set(&self, identities: &[Standing], trust: NodeTrust, now: SystemTime) {
        for state in State::ALL {
            let count = identities.iter().filter(|standing| State::of(standing, now) == state).count();
            let labels = StateLabels { state: state.name() };
            self.identities.get_or_create(&labels).set(signed(count as u64));
        }
        let failing = identities.iter().filter(|standing| !standing.trouble.is_empty()).count();
        self.failing.set(signed(failing as u64));
        let ends = identities.iter().filter_map(|standing| Some(standing.certificate.as_ref()?.not_after));
        self.expiry.set(ends.min().map_or(0, |end| seconds_until(end, now)));
        self.node_expiry.set(trust.certificate_ends.map_or(0, |end| seconds_until(end, now)));
        self.roots.set(signed(trust.roots as u64));
        self.revoked.set(signed(trust.revoked as u64));
    }
}

/// Seconds from `now` to `end`, negative after it.
pub(crate) fn seconds_until(end: SystemTime, now: SystemTime) -> i64 {
    match end.duration_since(now) {
        Ok(left) => signed(left.as_secs()),
        Err(past) => -signed(past.duration().as_secs()),
    }
}
