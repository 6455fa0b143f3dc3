//! The nodes of the mesh, and asking them.

use std::fmt;

use futures::{StreamExt as _, stream};

use super::client::Socket;

/// Nodes that are asked at a time.
const AT_ONCE: usize = 16;

/// A node of the mesh.
#[derive(Clone)]
pub(super) struct Node {
    /// Its name.
    pub name: String,
    /// Its agent.
    pub agent: Socket,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Node").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Asks some nodes at a time, and gives the answers in the nodes' order.
pub(super) async fn each<'a, F: Future>(nodes: &'a [Node], ask: impl Fn(&'a Node) -> F) -> Vec<F::Output> {
    stream::iter(nodes).map(ask).buffered(AT_ONCE).collect().await
}
