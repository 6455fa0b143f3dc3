//! How many certificates a node may ask for.

use std::time::Duration;

use super::{
    bucket::{Buckets, Rate},
    time::Timestamp,
};

/// At once, every identity of a full node, twice.
const RATE: Rate = Rate { burst: 512, per_second: 20 };

/// The buckets. There are as many as there are nodes, because only nodes get this far.
#[derive(Debug)]
pub(super) struct Rates(Buckets<String>);

/// A node asks for too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {0} asks for more than {rate} certificates a second; ask again in a second", rate = RATE.per_second)]
pub struct TooMany(String);

impl Default for Rates {
    fn default() -> Self {
        Self(Buckets::new(RATE))
    }
}

impl Rates {
    /// Takes one of a node's tokens.
    pub(super) fn take(&mut self, node: &str, now: Timestamp) -> Result<(), TooMany> {
        let taken = self.0.take(node.to_owned(), Duration::from_secs(now.unix()));
        if taken { Ok(()) } else { Err(TooMany(node.to_owned())) }
    }

    /// Forgets a node.
    pub(super) fn remove(&mut self, node: &str) {
        self.0.remove(&node.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RATE, Rates};
    use crate::ca::Timestamp;

    #[test]
    fn a_node_is_bounded_and_others_are_not_touched() {
        let now = Timestamp::from_unix(1000);
        let mut rates = Rates::default();
        let mut taken = |node, now| (0..1000).filter(|_| rates.take(node, now).is_ok()).count();
        assert_eq!(taken("a", now), RATE.burst as usize);
        assert_eq!(taken("b", now), RATE.burst as usize);
        let later = now.after(Duration::from_secs(1));
        assert_eq!(taken("a", later), RATE.per_second as usize);
        assert_eq!(taken("a", now), 0, "a clock that goes back gives nothing");
    }
}
