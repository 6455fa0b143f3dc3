//! How many of something are under way, by what they are of.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// Counts, by key; what is not under way takes no room.
#[derive(Debug)]
pub(crate) struct Tally<K>(RefCell<HashMap<K, u32>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Hash + Eq + Clone> Tally<K> {
    /// How many there are of `key`.
    pub(crate) fn of(&self, key: &K) -> u32 {
        self.0.borrow().get(key).copied().unwrap_or(0)
    }

    /// One more, until what it gives is dropped.
    pub(crate) fn enter(self: &Rc<Self>, key: K) -> Entered<K> {
        *self.0.borrow_mut().entry(key.clone()).or_default() += 1;
        Entered { tally: Rc::clone(self), key }
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// One that is under way.
#[derive(Debug)]
pub(crate) struct Entered<K: Hash + Eq + Clone> {
    tally: Rc<Tally<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Entered<K> {
    fn drop(&mut self) {
        let mut counts = self.tally.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}
