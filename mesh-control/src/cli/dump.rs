//! `meshctl node dump`: everything a node's agent holds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::Node;
use super::output::{View, outline};
use super::{CliError, Outcome};

/// Asks every node.
pub(super) async fn dump(nodes: &[Node], flows: u32) -> Result<(View, Outcome), CliError> {
    let mut by_node: BTreeMap<&str, Value> = BTreeMap::new();
    for node in nodes {
        let path = format!("/dump?flows={flows}");
        by_node.insert(&node.name, node.agent.get(&path).await?);
    }
    let text = by_node.iter().map(|(node, dump)| outline(&format!("Node {node}"), dump)).collect();
    Ok((View::new(&by_node, text), Outcome::Yes))
}
