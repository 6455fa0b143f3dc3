//! The certificates of this node's identities: what `meshctl identity` shows.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::Serialize;

use crate::relay::identity::Standing;
use crate::relay::node::{Node, NodeCertificate};
use crate::relay::telemetry::{IdentityState, seconds_until};
use crate::relay::tls::moment;

/// One row of `GET /identities`.
#[derive(Debug, Serialize)]
pub(super) struct Identity {
    id: String,
    /// `valid`, `awaited`, `failed` or `expired`.
    state: &'static str,
    /// Its enrolled pods here, `<namespace>/<name>`.
    pods: Vec<String>,
    /// Serial number, hexadecimal; empty without a certificate, as what follows.
    serial: String,
    /// Subject key identifier of its issuer, hexadecimal.
    issuer: String,
    not_before: String,
    not_after: String,
    /// Until `not_after`, negative after it.
    expires_in_seconds: Option<i64>,
    /// When it is asked for next.
    next_attempt: String,
    /// Attempts that failed since the last one that did not.
    failed_attempts: u32,
    /// Why the last one failed; empty when it did not.
    error: String,
}

/// The node's own identity, once it has joined, and every one of its pods.
pub(super) fn identities(node: &Node) -> Vec<Identity> {
    let now = SystemTime::now();
    let desired = node.desired.borrow();
    let pod = |uid: &String| {
        desired
            .local_workload(uid)
            .map_or_else(|| uid.clone(), |workload| format!("{}/{}", workload.namespace, workload.name))
    };
    let own = node.discovery.certificate.borrow();
    let own = own.as_ref().map(|certificate| Identity::of_node(certificate, now));
    let of_pods = node.identities.standing();
    own.into_iter().chain(of_pods.iter().map(|standing| Identity::of(standing, pod, now))).collect()
}

impl Identity {
    /// What keeps it from being renewed is what keeps the node from its controller: `GET /status`
    /// has it.
    fn of_node(certificate: &NodeCertificate, now: SystemTime) -> Self {
        let state = if now < certificate.not_after { IdentityState::Valid } else { IdentityState::Expired };
        Self {
            id: certificate.id.clone(),
            state: state.name(),
            pods: Vec::new(),
            serial: hexadecimal(&certificate.serial),
            issuer: hexadecimal(&certificate.issuer_key_id),
            not_before: moment(&certificate.not_before),
            not_after: moment(&certificate.not_after),
            expires_in_seconds: Some(seconds_until(certificate.not_after, now)),
            next_attempt: moment(&certificate.due),
            failed_attempts: 0,
            error: String::new(),
        }
    }

    fn of(standing: &Standing, pod: impl Fn(&String) -> String, now: SystemTime) -> Self {
        let certificate = standing.certificate.as_deref();
        Self {
            id: standing.id.to_string(),
            state: IdentityState::of(standing, now).name(),
            pods: standing.pods.iter().map(pod).collect(),
            serial: certificate.map(|held| hexadecimal(&held.serial)).unwrap_or_default(),
            issuer: certificate.map(|held| hexadecimal(&held.issuer_key_id)).unwrap_or_default(),
            not_before: certificate.map(|held| moment(&held.not_before)).unwrap_or_default(),
            not_after: certificate.map(|held| moment(&held.not_after)).unwrap_or_default(),
            expires_in_seconds: certificate.map(|held| seconds_until(held.not_after, now)),
            next_attempt: moment(&standing.due),
            failed_attempts: standing.attempts,
            error: standing.trouble.clone(),
        }
    }
}

/// Bytes as they are written in certificates' names and logs.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::Identity;
    use crate::relay::identity::Standing;
    use crate::relay::node::NodeCertificate;
    use mesh_api::SpiffeId;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_identity_without_a_certificate_says_why() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_255_200);
        let standing = Standing {
            id: SpiffeId::new("cluster.local", "bank", "teller").unwrap(),
            pods: ["uid-1".to_owned()].into(),
            certificate: None,
            due: now + Duration::from_secs(30),
            attempts: 3,
            trouble: "the controller does not answer".into(),
        };
        let certificate = NodeCertificate {
            id: "spiffe://cluster.local/mesh/node/n1".into(),
            serial: vec![0x41, 0x0a],
            not_before: now,
            not_after: now + Duration::from_secs(60),
            issuer_key_id: vec![0xff],
            due: now,
        };
        let later = now + Duration::from_secs(90);
        let own = serde_json::to_value(Identity::of_node(&certificate, later)).unwrap();
        assert_eq!((&own["serial"], &own["state"]), (&"410a".into(), &"expired".into()));
        assert_eq!(own["expires_in_seconds"], -30);
        let row = Identity::of(&standing, |uid| format!("bank/{uid}"), now);
        assert_eq!(
            serde_json::to_value(row).unwrap(),
            serde_json::json!({
                "id": "spiffe://cluster.local/ns/bank/sa/teller", "state": "failed", "pods": ["bank/uid-1"],
                "serial": "", "issuer": "", "not_before": "", "not_after": "", "expires_in_seconds": null,
                "next_attempt": "2026-11-21T10:00:30Z", "failed_attempts": 3,
                "error": "the controller does not answer",
            })
        );
    }
}
