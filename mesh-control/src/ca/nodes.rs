//! Which nodes there are, and which joining of each counts.
//!
//! Every joining of a node after it was removed is a new epoch: its certificates' serial numbers
//! begin with another tag ([`NodeTag`]). A removed node's tag is revoked until the last
//! certificate that carries it has expired.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh_api::NodeTag;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A node counts as removed when it has been away for this long: a file that is being replaced
/// is no removal. Its certificates are refused within 10 s (SEMANTICS 9.4).
pub(super) const GONE_AFTER: Duration = Duration::from_secs(3);

/// The nodes that are known, or were and may still hold certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Nodes {
    /// The present epoch of each, the first being 1.
    epochs: BTreeMap<String, u64>,
    revoked: Vec<Revoked>,
    /// Since when each has been away, shorter than [`GONE_AFTER`].
    #[serde(skip)]
    away: BTreeMap<String, Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Revoked {
    node: String,
    epoch: u64,
    /// Then its last certificate has expired.
    until: Timestamp,
}

/// What a look at the nodes brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// New ones, which need a join token.
    pub(super) came: Vec<String>,
    /// Removed ones, whose certificates are now refused.
    pub(super) went: Vec<String>,
    /// Whether anything else changed that is to be written down.
    pub(super) forgot: bool,
}

impl Nodes {
    /// Takes over which nodes the model has. `until` tells when a node's last certificate expires.
    pub(super) fn look(
        &mut self,
        present: &BTreeSet<String>,
        now: Timestamp,
        until: impl Fn(&str) -> Timestamp,
    ) -> Moved {
        let mut moved = Moved::default();
        let before = self.revoked.len();
        self.revoked.retain(|revoked| now <= revoked.until);
        moved.forgot = self.revoked.len() != before;
        self.away.retain(|node, _| !present.contains(node));
        for node in self.epochs.keys().filter(|node| !present.contains(*node)) {
            let since = *self.away.entry(node.clone()).or_insert(now);
            if now.since(since) >= GONE_AFTER {
                moved.went.push(node.clone());
            }
        }
        for node in &moved.went {
            self.away.remove(node);
            if let Some(epoch) = self.epochs.remove(node) {
                self.revoked.push(Revoked { node: node.clone(), epoch, until: until(node) });
            }
        }
        for node in present.iter().filter(|node| !self.epochs.contains_key(*node)) {
            moved.came.push(node.clone());
        }
        for node in &moved.came {
            let last = self.revoked.iter().filter(|revoked| revoked.node == *node);
            let epoch = last.map(|revoked| revoked.epoch).max().unwrap_or(0) + 1;
            self.epochs.insert(node.clone(), epoch);
        }
        moved
    }

    /// The tag that a node's certificates carry now; nothing where there is no such node.
    pub(super) fn tag(&self, node: &str) -> Option<NodeTag> {
        self.epochs.get(node).map(|epoch| NodeTag::new(node, *epoch))
    }

    /// The tags of all nodes.
    pub(super) fn tags(&self) -> BTreeMap<String, NodeTag> {
        self.epochs.iter().map(|(node, epoch)| (node.clone(), NodeTag::new(node, *epoch))).collect()
    }

    /// The names of all nodes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.epochs.keys().map(String::as_str)
    }

    /// The tags that are refused.
    pub(super) fn revoked(&self) -> BTreeSet<NodeTag> {
        self.revoked.iter().map(|revoked| NodeTag::new(&revoked.node, revoked.epoch)).collect()
    }

    /// The nodes whose tags are refused, and until when.
    pub(super) fn revoked_nodes(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.revoked.iter().map(|revoked| (revoked.node.as_str(), revoked.until))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use mesh_api::NodeTag;
    use proptest::prelude::*;

    use super::{GONE_AFTER, Nodes};
    use crate::ca::Timestamp;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_removed_node_is_revoked_and_comes_back_as_another() {
        let start = Timestamp::from_unix(1000);
        let until = start.after(Duration::from_secs(100));
        let mut nodes = Nodes::default();
        assert_eq!(nodes.look(&set(&["a", "b"]), start, |_| until).came, ["a", "b"]);
        let first = nodes.tag("a").unwrap();
        // A short absence is none.
        assert_eq!(nodes.look(&set(&["b"]), start, |_| until).went, Vec::<String>::new());
        assert!(nodes.look(&set(&["a", "b"]), start.after(GONE_AFTER), |_| until).came.is_empty());
        nodes.look(&set(&["b"]), start, |_| until);
        let gone = start.after(GONE_AFTER);
        assert_eq!(nodes.look(&set(&["b"]), gone, |_| until).went, ["a"]);
        assert_eq!(nodes.revoked(), BTreeSet::from([first]));
        assert_eq!(nodes.look(&set(&["a", "b"]), gone, |_| until).came, ["a"]);
        assert_eq!(nodes.tag("a"), Some(NodeTag::new("a", 2)));
        assert!(nodes.revoked().contains(&first));
        // Nobody holds a certificate of the first joining any more.
        assert!(nodes.look(&set(&["a", "b"]), until.after(Duration::from_secs(1)), |_| until).forgot);
        assert!(nodes.revoked().is_empty());
    }

    proptest! {
        /// Whatever comes and goes, no present node is revoked, and no tag that may still be in
        /// use is given out again.
        #[test]
        fn a_present_node_is_never_revoked(steps in proptest::collection::vec((proptest::collection::btree_set("[a-c]", 0..3), 0..8_u64), 0..40)) {
            let mut nodes = Nodes::default();
            let mut now = Timestamp::from_unix(1000);
            let mut refused_until = std::collections::BTreeMap::new();
            for (present, seconds) in steps {
                now = now.after(Duration::from_secs(seconds));
                let until = now.after(Duration::from_secs(20));
                let before = nodes.tags();
                let moved = nodes.look(&present, now, |_| until);
                for node in &moved.went {
                    refused_until.insert(before[node], until);
                }
                let tags: BTreeSet<_> = nodes.tags().into_values().collect();
                prop_assert!(tags.is_disjoint(&nodes.revoked()));
                prop_assert!(present.iter().all(|node| nodes.tag(node).is_some()));
                for (tag, until) in &refused_until {
                    prop_assert!(now > *until || nodes.revoked().contains(tag));
                }
            }
        }
    }
}
