//! How many certificates a node may ask for: a bucket of tokens for each.

use std::collections::BTreeMap;

use super::time::Timestamp;

/// A node may ask for this many at once: every identity of a full node, twice.
const BURST: u64 = 512;
/// And for this many a second from then on.
const PER_SECOND: u64 = 20;

/// The buckets. There are as many as there are nodes, because only nodes get this far.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<String, (u64, Timestamp)>);

/// A node asks for too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {0} asks for more than {PER_SECOND} certificates a second; ask again in a second")]
pub struct TooMany(String);

impl Rates {
    /// Takes one of a node's tokens.
    pub(super) fn take(&mut self, node: &str, now: Timestamp) -> Result<(), TooMany> {
        let (left, last) = self.0.entry(node.to_owned()).or_insert((BURST, now));
        let gained = now.since(*last).as_secs().saturating_mul(PER_SECOND);
        *left = left.saturating_add(gained).min(BURST);
        *last = now.max(*last);
        *left = left.checked_sub(1).ok_or_else(|| TooMany(node.to_owned()))?;
        Ok(())
    }

    /// Forgets a node.
    pub(super) fn remove(&mut self, node: &str) {
        self.0.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BURST, PER_SECOND, Rates};
    use crate::ca::Timestamp;

    #[test]
    fn a_node_is_bounded_and_others_are_not_touched() {
        let now = Timestamp::from_unix(1000);
        let mut rates = Rates::default();
        assert_eq!((0..BURST + 5).filter(|_| rates.take("a", now).is_ok()).count() as u64, BURST);
        assert!(rates.take("b", now).is_ok());
        let later = now.after(Duration::from_secs(1));
        assert_eq!((0..100).filter(|_| rates.take("a", later).is_ok()).count() as u64, PER_SECOND);
        assert!(rates.take("a", now).is_err(), "a clock that goes back gives nothing");
    }
}
