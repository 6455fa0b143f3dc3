//! Denials by the identifiers that unproven callers were told (SEMANTICS 5.8), for `meshctl
//! explain-denial`: the latest, and of each caller's address fewer the more it has, so that one that
//! hammers pushes out its own first.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::Resolved;

/// How many are remembered.
const LIMIT: usize = 4096;

/// The most recent ones.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    /// By the caller's address, the latest last.
    of: HashMap<Option<IpAddr>, VecDeque<Resolved>>,
    count: usize,
}

impl Denied {
    /// Notes a request, if its denial has an identifier.
    pub(in super::super) fn note(&mut self, resolved: &Resolved) {
        if resolved.told.labels.denial.is_none() {
            return;
        }
        if self.count >= LIMIT {
            self.forget_one();
        }
        let caller = resolved.source.address.map(|(address, _)| address);
        self.of.entry(caller).or_default().push_back(resolved.clone());
        self.count += 1;
    }

    /// Finds one.
    pub(in super::super) fn find(&self, id: &str) -> Option<&Resolved> {
        let mut all = self.of.values().flatten();
        all.find(|resolved| resolved.told.labels.denial.as_deref() == Some(id))
    }

    /// Forgets the oldest of whoever has the most.
    fn forget_one(&mut self) {
        let Some((&caller, _)) = self.of.iter().max_by_key(|(_, denials)| denials.len()) else { return };
        let Some(denials) = self.of.get_mut(&caller) else { return };
        denials.pop_front();
        self.count -= 1;
        if denials.is_empty() {
            self.of.remove(&caller);
        }
    }

    #[cfg(test)]
    pub(in super::super) fn count(&self) -> usize {
        self.of.values().map(VecDeque::len).sum()
    }
}
