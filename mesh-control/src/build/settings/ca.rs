//! `spec.ca`: how long certificates live, and whose authority signs them.

use std::time::Duration;

use mesh_api::{crd::SecretRef, duration};
use serde_json::Value;

use super::super::fields::{Fields, Problem};
use crate::objects::ObjectName;

/// What holds for the certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaSettings {
    /// Life of a generated root.
    pub root_ttl: Duration,
    /// Life of a generated issuer.
    pub issuer_ttl: Duration,
    /// Life of the certificates of workloads and nodes.
    pub workload_ttl: Duration,
    /// The Secret that holds the authority; nothing where the controller's directory does.
    pub secret: Option<ObjectName>,
}

const HOUR: Duration = Duration::from_secs(3600);

/// Shorter ones leave no time to renew; longer ones make a stolen key last.
const WORKLOAD_TTL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(30 * 24 * 3600));
const ISSUER_TTL: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(10 * 8760 * 3600));
/// X.509's dates would bear more, but 50 years are more than any key should live.
const ROOT_TTL: (Duration, Duration) = (Duration::from_secs(480), Duration::from_secs(50 * 8760 * 3600));

impl Default for CaSettings {
    fn default() -> Self {
        Self { root_ttl: HOUR * 87_600, issuer_ttl: HOUR * 2160, workload_ttl: HOUR * 24, secret: None }
    }
}

/// Reads `spec.ca`. A duration that is not valid keeps its default. A `secretRef` that is not
/// valid keeps the authority from changing: it names a Secret that cannot be there.
pub(super) fn read(value: &Value, problems: &mut Vec<Problem>) -> CaSettings {
    let defaults = CaSettings::default();
    let mut fields = Fields::of(value, "spec.ca", problems);
    let mut ttl = |field, bounds, default, problems: &mut Vec<Problem>| {
        let path = fields.path(field);
        let text = fields.get::<String>(field, problems).valid();
        text.and_then(|text| bounded(&path, &text, bounds, default, problems)).unwrap_or(default)
    };
    let mut read = CaSettings {
        root_ttl: ttl("rootTTL", ROOT_TTL, defaults.root_ttl, problems),
        issuer_ttl: ttl("issuerTTL", ISSUER_TTL, defaults.issuer_ttl, problems),
        workload_ttl: ttl("workloadTTL", WORKLOAD_TTL, defaults.workload_ttl, problems),
        secret: None,
    };
    let named = fields.get::<SecretRef>("secretRef", problems);
    let path = fields.path("secretRef");
    read.secret =
        named.or_closed(SecretRef::default()).map(|secret| ObjectName::new(&secret.namespace, &secret.name));
    if read.secret.as_ref().is_some_and(|secret| secret.name.is_empty() || secret.namespace.is_empty()) {
        problems.push(Problem::invalid(&path, "needs the name and the namespace of a Secret"));
    }
    fields.finish(problems);
    for (shorter, shorter_ttl, longer, longer_ttl) in [
        ("workloadTTL", read.workload_ttl, "issuerTTL", read.issuer_ttl),
        ("issuerTTL", read.issuer_ttl, "rootTTL", read.root_ttl),
    ] {
        if longer_ttl < shorter_ttl * 2 {
            problems.push(Problem::invalid(
                &format!("spec.ca.{longer}"),
                format!(
                    "{} is less than twice {shorter} ({}), so that it could not be renewed in time; make {longer} longer or {shorter} shorter. The lives stay as without spec.ca",
                    duration::text(longer_ttl),
                    duration::text(shorter_ttl)
                ),
            ));
            return CaSettings { secret: read.secret, ..defaults };
        }
    }
    read
}

fn bounded(
    path: &str,
    text: &str,
    (least, most): (Duration, Duration),
    default: Duration,
    problems: &mut Vec<Problem>,
) -> Option<Duration> {
    let stays = format!("{} holds until it is corrected", duration::text(default));
    let fault = match duration::parse(text) {
        Some(ttl) if (least..=most).contains(&ttl) => return Some(ttl),
        Some(_) => {
            format!("`{text}` is not between {} and {}", duration::text(least), duration::text(most))
        }
        None => format!("`{text}` is not a duration; write a number with h, m or s, such as 24h or 1h30m"),
    };
    problems.push(Problem::invalid(path, format!("{fault}; {stays}")));
    None
}
