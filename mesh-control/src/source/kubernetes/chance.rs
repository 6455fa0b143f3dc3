//! Chance, so that many do not ask in the same moment.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that is another each time; nothing depends on nobody guessing it.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
