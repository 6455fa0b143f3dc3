//! How far the nodes are with the replacement of a root.

use std::collections::BTreeSet;

use mesh_api::SpiffeId;

use super::{
    super::{
        ledger::Issued,
        rotation::{Phase, Progress},
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

impl Authority {
    /// What a replacement waits for; nothing where there is none.
    pub(super) fn progress(&self, inner: &Inner, streams: &Streams) -> Progress {
        if inner.state.rotation.phase == Phase::Stable {
            return Progress::default();
        }
        let absent = |node: &&str| !streams.connected.contains(*node) && inner.ledger.has_any(node);
        Progress {
            unaware: streams.unaware,
            absent: inner.state.nodes.names().filter(absent).count(),
            outstanding: inner.ledger.live().filter(|issued| self.is_outstanding(inner, issued)).count(),
        }
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
