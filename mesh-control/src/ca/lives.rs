//! How long what was signed may still be in use, known without a list of it.
//!
//! The list of certificates ([`ledger`](super::ledger)) is one process's own. Who takes an authority
//! over from another process goes by this bound instead.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The life that certificates are given, and when those with another one have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lives {
    /// Of a certificate that is signed now.
    ttl: Duration,
    /// Every certificate that was signed with a longer one ends until then.
    until: Timestamp,
}

impl Lives {
    /// From now on certificates are given this life.
    pub(super) fn set(&mut self, ttl: Duration, now: Timestamp) {
        if ttl < self.ttl {
            self.until = self.end(now);
        }
        self.ttl = ttl;
    }

    /// When the last certificate that was signed until now ends, at the latest.
    pub(super) fn end(&self, now: Timestamp) -> Timestamp {
        self.until.max(now.after(self.ttl))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Lives;
    use crate::ca::Timestamp;

    proptest! {
        /// Whatever lives were given one after the other, nothing outlives the bound, and the bound is
        /// no later than the longest life from now.
        #[test]
        fn nothing_outlives_the_bound(steps in prop::collection::vec((1_u64..100, 0_u64..50), 1..30)) {
            let mut lives = Lives::default();
            let (mut now, mut last, mut longest) = (Timestamp::from_unix(1000), Timestamp::default(), 0);
            for (ttl, passes) in steps {
                lives.set(Duration::from_secs(ttl), now);
                // Signed all the while.
                now = now.after(Duration::from_secs(passes));
                last = last.max(now.after(Duration::from_secs(ttl)));
                longest = longest.max(ttl);
                prop_assert!(lives.end(now) >= last);
                prop_assert!(lives.end(now) <= now.after(Duration::from_secs(longest)));
            }
        }
    }
}
