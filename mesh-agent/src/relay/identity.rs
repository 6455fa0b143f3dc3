//! The certificates of the identities on this node: asked for before they are needed, renewed
//! before they end, never on disk.
//!
//! Every identity of an enrolled local pod has one key here, made anew with every certificate. A
//! certificate is renewed at half of its life, with jitter so that those of a node, and of all
//! nodes after an outage, do not come due at once. When that fails it is tried again, slower and
//! slower, and the old certificate counts until it ends. When the issuer of the mesh changes, every
//! certificate is renewed within seconds.
//!
//! | module | what it does |
//! |---|---|
//! | [`schedule`] | when to ask, purely |
//! | [`certificate`] | a key, its request, and what came back |
//! | [`renewal`] | asks when it is time |
//! | [`wanted`] | which identities the node needs |

mod certificate;
mod renewal;
mod schedule;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use mesh_api::SpiffeId;
use mesh_ebpf::abi::Reason;
use tokio::sync::{Notify, watch};

pub(crate) use certificate::{Certificate, CertificateError, Issued, Request};
pub(crate) use renewal::{Issuer, random, run};
pub(crate) use schedule::{ISSUER_SETTLES, LONGEST_SLEEP, Schedule};

/// The most identities a node has: pods of one node, with room.
const LIMIT: usize = 4096;

/// Why an identity has no certificate to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCertificate {
    /// Nobody here has the identity.
    #[error("no enrolled pod on this node has the identity {0}")]
    NotHere(SpiffeId),
    /// It was asked for and has not come.
    #[error("the certificate of {0} has not come yet; it is being asked for")]
    Awaited(SpiffeId),
    /// It was asked for and refused.
    #[error(
        "{id} has no certificate: {why} ({attempts} attempts); check that relay reaches the controller and what it says there"
    )]
    Failed {
        /// The identity.
        id: SpiffeId,
        /// How often it was tried.
        attempts: u32,
        /// The last reason.
        why: String,
    },
    /// It ended and no other came.
    #[error(
        "the certificate of {id} has expired by this node's clock and was not renewed: {why}; check the clock and that relay reaches the controller"
    )]
    Expired {
        /// The identity.
        id: SpiffeId,
        /// The last reason.
        why: String,
    },
}

impl NoCertificate {
    /// Its reason in log, metric and CLI.
    pub(crate) const fn reason(&self) -> Reason {
        Reason::NoCertificate
    }
}

/// How an identity stands, for `meshctl identity`.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The identity.
    pub id: SpiffeId,
    /// UIDs of its enrolled pods here.
    pub pods: BTreeSet<String>,
    /// What is held of it, expired or not.
    pub certificate: Option<Arc<Certificate>>,
    /// When it is asked for next.
    pub due: SystemTime,
    /// Attempts that failed since the last one that did not.
    pub attempts: u32,
    /// Why the last attempt failed; empty when it did not.
    pub trouble: String,
}

/// The certificates of the identities on this node, for every thread.
#[derive(Debug)]
pub(crate) struct Identities {
    slots: RwLock<BTreeMap<SpiffeId, Slot>>,
    /// Counts the certificates taken and given up.
    changes: watch::Sender<u64>,
    /// Something is due that was not.
    wake: Notify,
}

#[derive(Debug)]
struct Slot {
    pods: BTreeSet<String>,
    certificate: Option<Arc<Certificate>>,
    schedule: Schedule,
}

impl Default for Identities {
    fn default() -> Self {
        Self { slots: RwLock::default(), changes: watch::Sender::new(0), wake: Notify::new() }
    }
}

impl Identities {
    /// The certificate to show as `id` now.
    ///
    /// # Errors
    /// When there is none that counts; the error says why.
    pub(crate) fn certificate(&self, id: &SpiffeId) -> Result<Arc<Certificate>, NoCertificate> {
        self.certificate_at(id, SystemTime::now())
    }

    fn certificate_at(&self, id: &SpiffeId, now: SystemTime) -> Result<Arc<Certificate>, NoCertificate> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(id).ok_or_else(|| NoCertificate::NotHere(id.clone()))?;
        let why = slot.schedule.trouble().to_owned();
        match &slot.certificate {
            Some(certificate) if now < certificate.not_after => Ok(Arc::clone(certificate)),
            Some(_) => Err(NoCertificate::Expired { id: id.clone(), why }),
            None if slot.schedule.attempts() == 0 => Err(NoCertificate::Awaited(id.clone())),
            None => Err(NoCertificate::Failed { id: id.clone(), attempts: slot.schedule.attempts(), why }),
        }
    }

    /// An enrolled pod of this node has the identity: its certificate is asked for at once.
    pub(crate) fn want(&self, id: &SpiffeId, pod_uid: &str) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= LIMIT && !slots.contains_key(id) {
            tracing::error!(%id, limit = LIMIT, "too many identities on this node; this one gets no certificate");
            return;
        }
        let slot = slots.entry(id.clone()).or_insert_with(|| Slot {
            pods: BTreeSet::new(),
            certificate: None,
            schedule: Schedule::new(SystemTime::now()),
        });
        if slot.pods.insert(pod_uid.to_owned()) {
            self.wake.notify_one();
        }
    }

    /// The pod has it no more. With the last one the key and the certificate are forgotten.
    pub(crate) fn unwant(&self, id: &SpiffeId, pod_uid: &str) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(id) else { return };
        slot.pods.remove(pod_uid);
        if slot.pods.is_empty() && slots.remove(id).is_some_and(|slot| slot.certificate.is_some()) {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Begins attempts for up to `limit` identities that are due: which, and for which of their pods.
    /// Attempts go through the pods in turn, since the controller refuses one that has ended.
    fn take_due(&self, now: SystemTime, limit: usize) -> Vec<(SpiffeId, String)> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let due = slots.iter_mut().filter(|(_, slot)| slot.schedule.is_due(now)).take(limit);
        due.filter_map(|(id, slot)| {
            let turn = usize::try_from(slot.schedule.attempts()).unwrap_or(0) % slot.pods.len().max(1);
            let pod_uid = slot.pods.iter().nth(turn)?.clone();
            slot.schedule.asked();
            Some((id.clone(), pod_uid))
        })
        .collect()
    }

    /// When the next identity comes due; those being asked for do not count.
    fn next_due(&self) -> Option<SystemTime> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().filter(|slot| !slot.schedule.is_asking()).map(|slot| slot.schedule.due()).min()
    }

    /// An attempt ended. `issuer_key_id` is who signs now.
    fn took(
        &self,
        id: &SpiffeId,
        result: Result<Certificate, String>,
        issuer_key_id: &[u8],
        now: SystemTime,
        random: u64,
    ) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        // Its last pod may have ended meanwhile.
        let Some(slot) = slots.get_mut(id) else { return };
        match result {
            Ok(certificate) => {
                slot.schedule.issued(certificate.not_before, certificate.not_after, now, random);
                if is_superseded(&certificate, issuer_key_id) {
                    slot.schedule.reissue(now + ISSUER_SETTLES, random);
                }
                slot.certificate = Some(Arc::new(certificate));
                self.changes.send_modify(|changes| *changes += 1);
            }
            Err(why) => slot.schedule.failed(why, now, random),
        }
    }

    /// Who signs now: certificates of another issuer are renewed within seconds.
    fn issuer_is(&self, issuer_key_id: &[u8], now: SystemTime, random: impl Fn() -> u64) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values_mut() {
            if slot.certificate.as_ref().is_some_and(|held| is_superseded(held, issuer_key_id)) {
                slot.schedule.reissue(now, random());
            }
        }
    }

    /// The controller is there again: what failed is tried soon.
    fn hurry(&self, now: SystemTime, random: impl Fn() -> u64) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.values_mut().for_each(|slot| slot.schedule.hurry(now, random()));
    }

    /// Takes a certificate as if it had just been issued.
    #[cfg(test)]
    pub(crate) fn give(&self, certificate: Certificate) {
        let id = certificate.id.clone();
        self.want(&id, "test");
        let issuer = certificate.issuer_key_id.clone();
        self.took(&id, Ok(certificate), &issuer, SystemTime::now(), 0);
    }

    /// Tells when some certificate was taken or given up.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How every identity of the node stands.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let standing = slots.iter().map(|(id, slot)| Standing {
            id: id.clone(),
            pods: slot.pods.clone(),
            certificate: slot.certificate.clone(),
            due: slot.schedule.due(),
            attempts: slot.schedule.attempts(),
            trouble: slot.schedule.trouble().to_owned(),
        });
        standing.collect()
    }
}

/// Whether another issuer signs now; one that is not told signs what it likes.
fn is_superseded(certificate: &Certificate, issuer_key_id: &[u8]) -> bool {
    !issuer_key_id.is_empty() && certificate.issuer_key_id != issuer_key_id
}
