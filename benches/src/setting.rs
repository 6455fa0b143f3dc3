//! Where the two pods are, and what is to be shown of them there.

use crate::{traffic::Quantity, verdict::Target};

/// Where client and server are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// On one node: the kernel joins their sockets.
    SameNode,
    /// On two: everything goes through the tunnel.
    TwoNodes,
}

impl Setting {
    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SameNode => "two pods of one node",
            Self::TwoNodes => "two pods of two nodes, through the tunnel",
        }
    }

    /// What the client's node counts of connections that take the way that is measured.
    pub(crate) const fn counter(self) -> &'static str {
        match self {
            Self::SameNode => "mesh_kernel_connections_opened_total",
            Self::TwoNodes => "mesh_kernel_tunnelled_total",
        }
    }

    /// What is to be shown of a ratio mesh / no mesh: on one node the mesh costs nothing measurable. Between nodes it
    /// encrypts what goes in plain text otherwise; what that costs is information.
    #[must_use]
    pub const fn target(self, quantity: Quantity) -> Target {
        match (self, quantity) {
            (Self::SameNode, Quantity::Throughput) => Target::Above(0.97),
            (Self::SameNode, Quantity::Latency) => Target::Below(1.03),
            _ => Target::None,
        }
    }
}
