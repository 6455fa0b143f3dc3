//! Connections that were there before their pod was wired (SEMANTICS 1.2): counted, and left
//! alone by live enrolment.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type ByPod = HashMap<String, HashSet<u64>>;

/// Cookies of such connections' sockets, by pod UID.
#[derive(Debug, Clone, Default)]
pub(super) struct Older(Arc<Mutex<ByPod>>);

impl Older {
    fn by_pod(&self) -> MutexGuard<'_, ByPod> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a pod's, found when it was wired.
    pub(super) fn note(&self, uid: &str, cookies: HashSet<u64>) {
        self.by_pod().insert(uid.to_owned(), cookies);
    }

    /// A pod's.
    pub(super) fn of(&self, uid: &str) -> HashSet<u64> {
        self.by_pod().get(uid).cloned().unwrap_or_default()
    }

    /// How many of a pod's are still open, as far as is known.
    pub(super) fn count(&self, uid: &str) -> u64 {
        self.by_pod().get(uid).map_or(0, |cookies| cookies.len() as u64)
    }

    /// Keeps of a pod's only those among `open`.
    pub(super) fn keep(&self, uid: &str, open: &HashSet<u64>) {
        if let Some(cookies) = self.by_pod().get_mut(uid) {
            cookies.retain(|cookie| open.contains(cookie));
        }
    }

    /// Forgets a pod.
    pub(super) fn forget(&self, uid: &str) {
        self.by_pod().remove(uid);
    }
}
