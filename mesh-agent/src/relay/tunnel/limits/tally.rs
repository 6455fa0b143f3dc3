//! How many there are of each; what there is none of is not held.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::rc::Rc;

/// The counts, in one worker.
#[derive(Debug)]
pub(super) struct Tally<K>(RefCell<HashMap<K, usize>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    /// Counts one more of `of`, unless there are `limit`.
    pub(super) fn count(tally: &Rc<Self>, of: K, limit: usize) -> Option<Counted<K>> {
        let mut counts = tally.0.borrow_mut();
        if counts.get(&of).is_some_and(|count| *count >= limit) {
            return None;
        }
        *counts.entry(of.clone()).or_default() += 1;
        Some(Counted { tally: Rc::clone(tally), of })
    }
}

/// One more, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted<K: Eq + Hash + Clone> {
    tally: Rc<Tally<K>>,
    of: K,
}

impl<K: Eq + Hash + Clone> Drop for Counted<K> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.tally.0.borrow_mut().entry(self.of.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
