//! Asks for certificates when it is time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_api::SpiffeId;
use mesh_api::certificates::CertificateReply;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Certificate, Identities, LONGEST_SLEEP, Request};
use crate::relay::tls::Trust;

/// Certificates asked for at once; the controller signs them one after the other anyway.
const IN_FLIGHT: usize = 8;

/// Who issues certificates: the controller, or a test.
pub(crate) trait Issuer {
    /// Asks for the certificate of the pod's identity; the error is for the operator.
    async fn issue(&self, pod_uid: &str, csr: Vec<u8>) -> Result<CertificateReply, String>;

    /// Whether it can be reached.
    fn reachable(&self) -> watch::Receiver<bool>;
}

/// Keeps every wanted certificate current for as long as relay runs.
pub(crate) async fn run<I: Issuer + 'static>(identities: Arc<Identities>, trust: Arc<Trust>, issuer: Rc<I>) {
    let mut bundles = trust.changed();
    let mut reachable = issuer.reachable();
    let mut attempts = JoinSet::new();
    loop {
        let room = IN_FLIGHT - attempts.len().min(IN_FLIGHT);
        for (id, pod_uid) in identities.take_due(SystemTime::now(), room) {
            let (identities, issuer, trust) =
                (Arc::clone(&identities), Rc::clone(&issuer), Arc::clone(&trust));
            attempts.spawn_local(async move {
                let result = ask(&*issuer, &id, &pod_uid).await;
                tell(&id, &pod_uid, &result, *issuer.reachable().borrow());
                let issuer_key_id = trust.current().issuer_key_id.clone();
                identities.took(&id, result, &issuer_key_id, SystemTime::now(), random());
            });
        }
        let sleep = identities.next_due().map_or(LONGEST_SLEEP, |due| {
            due.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST_SLEEP)
        });
        tokio::select! {
            Some(_) = attempts.join_next() => {}
            () = tokio::time::sleep(sleep), if attempts.len() < IN_FLIGHT => {}
            () = identities.wake.notified() => {}
            changed = bundles.changed() => {
                if changed.is_err() {
                    return;
                }
                let issuer_key_id = bundles.borrow_and_update().issuer_key_id.clone();
                identities.issuer_is(&issuer_key_id, SystemTime::now(), random);
            }
            changed = reachable.changed() => {
                if changed.is_err() {
                    return;
                }
                if *reachable.borrow_and_update() {
                    identities.hurry(SystemTime::now(), random);
                }
            }
        }
    }
}

async fn ask<I: Issuer>(issuer: &I, id: &SpiffeId, pod_uid: &str) -> Result<Certificate, String> {
    let request = Request::new().map_err(|error| error.to_string())?;
    let reply = issuer.issue(pod_uid, request.csr.clone()).await?;
    let issued = request.accept(reply, &id.to_string()).map_err(|error| error.to_string())?;
    Ok(issued.of_workload(id.clone()))
}

/// Discovery says itself that the controller cannot be reached.
fn tell(id: &SpiffeId, pod_uid: &str, result: &Result<Certificate, String>, reachable: bool) {
    match result {
        Ok(certificate) => {
            let not_after = crate::relay::tls::moment(&certificate.not_after);
            tracing::info!(id = %certificate.id, pod_uid, not_after, "certificate issued");
        }
        Err(why) if reachable => tracing::warn!(%id, pod_uid, why, "no certificate; trying again"),
        Err(why) => tracing::debug!(%id, pod_uid, why, "no certificate; trying again"),
    }
}

/// Random enough for jitter: the standard library seeds every `RandomState` differently.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
