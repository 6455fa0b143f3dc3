//! How far the nodes are with the replacement of a root.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::{NodeId, SpiffeId};

use super::{
    super::{
        ledger::Issued,
        rotation::{ABSENT_GRACE, Phase, Progress},
        time::Timestamp,
    },
    Authority, Inner,
};

/// What is known of the nodes' streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Streams {
    /// The nodes that are connected.
    pub(in super::super) connected: BTreeSet<String>,
    /// Those of them that have not acknowledged the present trust.
    pub(in super::super) unaware: usize,
}

/// Since when nodes could have been told, and have not been there. It begins anew with the process: a
/// controller that has just started has no streams, and that says nothing of the nodes.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// When this process first told anybody of its trust; nothing before.
    published: Option<Timestamp>,
    connected: BTreeSet<String>,
    /// When the streams of those that are not connected ended.
    left: BTreeMap<String, Timestamp>,
}

impl Presence {
    /// Trust can be had of this process.
    pub(super) fn published(&mut self, now: Timestamp) {
        self.published.get_or_insert(now);
    }

    /// Takes over which nodes are connected.
    pub(super) fn look(&mut self, connected: &BTreeSet<String>, now: Timestamp) {
        for node in self.connected.difference(connected) {
            self.left.insert(node.clone(), now);
        }
        self.connected.clone_from(connected);
        let gone = |left: &Timestamp| now.since(*left) >= ABSENT_GRACE;
        self.left.retain(|node, left| !connected.contains(node) && !gone(left));
    }

    /// Whether a node may still come by itself to be told what is published since `since`.
    fn is_waited_for(&self, node: &str, since: Timestamp, now: Timestamp) -> bool {
        let Some(published) = self.published else { return true };
        let from = self.left.get(node).copied().unwrap_or_default().max(published).max(since);
        !self.connected.contains(node) && now.since(from) < ABSENT_GRACE
    }
}

impl Authority {
    /// What a replacement waits for; nothing where there is none.
    pub(super) fn progress(&self, inner: &Inner, streams: &Streams, now: Timestamp) -> Progress {
        let rotation = &inner.state.rotation;
        if rotation.phase == Phase::Stable {
            return Progress::default();
        }
        let has_unlisted = inner.unlisted_until.is_some_and(|until| now <= until);
        let absent = |node: &&str| {
            inner.presence.is_waited_for(node, rotation.since, now)
                && (has_unlisted || inner.ledger.has_any(node))
        };
        let listed = inner.ledger.live().filter(|issued| self.is_outstanding(inner, issued)).count();
        Progress {
            unaware: streams.unaware,
            absent: inner.state.nodes.names().filter(absent).count(),
            outstanding: listed + if has_unlisted { self.unlisted(inner) } else { 0 },
        }
    }

    /// The identities in use of which this process has signed no certificate: what they have may be of
    /// the old root.
    fn unlisted(&self, inner: &Inner) -> usize {
        let domain = &inner.state.trust_domain;
        let nodes = inner.state.nodes.names();
        let nodes = nodes.filter_map(|node| Some((node, NodeId::new(domain, node).ok()?.to_string())));
        let nodes = nodes.filter(|(node, identity)| !inner.ledger.has(node, identity)).count();
        let pods = self.placements.running();
        let pods = pods.iter().filter(|(node, ..)| inner.state.nodes.tag(node).is_some());
        let pods = pods.filter_map(|(node, namespace, account)| {
            Some((node, SpiffeId::new(domain, namespace, account).ok()?.to_string()))
        });
        nodes + pods.filter(|(node, identity)| !inner.ledger.has(node, identity)).count()
    }

    /// Whether a certificate is of the old root and somebody still uses it: its node is there, and
    /// it is the node's own or a pod with its identity runs there.
    fn is_outstanding(&self, inner: &Inner, issued: &Issued) -> bool {
        issued.generation < inner.state.generation
            && inner.state.nodes.tag(&issued.node).is_some()
            && match issued.identity.parse::<SpiffeId>() {
                Ok(id) => self.placements.is_running(&issued.node, id.namespace(), id.service_account()),
                Err(_) => true,
            }
    }
}
