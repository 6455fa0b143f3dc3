//! What one wire leaves to the next one, which waits for it.

use std::sync::mpsc::SyncSender;

use mesh_ebpf::abi::SCHEMA;
use serde::{Deserialize, Serialize};

/// What a wire that has given way leaves to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// [`SCHEMA`] of its maps. The next adopts them where it is its own.
    pub(super) schema: u32,
    /// Processes of its agent. Their sockets stay the agent's for as long as there are any.
    pub(super) agents: Vec<u32>,
}

impl Given {
    /// Of this build.
    pub(super) fn new(agents: Vec<u32>) -> Self {
        Self { schema: SCHEMA, agents }
    }

    /// Whether the maps that were left are of this build's shape.
    pub(super) fn is_adopted(&self) -> bool {
        self.schema == SCHEMA
    }
}

/// Who waits for this wire to have stopped.
pub(super) type Successor = SyncSender<Given>;

#[cfg(test)]
mod tests {
    use super::Given;

    #[test]
    fn maps_of_another_schema_are_not_adopted() {
        let given = Given::new(Vec::new());
        assert!(given.is_adopted());
        assert!(!Given { schema: given.schema + 1, ..given }.is_adopted());
    }
}
