//! `meshctl check`: which kernel features the data path needs and has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::output::{View, table};
use super::run_dir::Node;
use super::{CliError, Outcome};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Feature {
    name: String,
    since: String,
    present: bool,
    detail: String,
}

/// Asks every node.
pub(super) async fn check(nodes: &[Node]) -> Result<(View, Outcome), CliError> {
    let mut by_node: BTreeMap<&str, Vec<Feature>> = BTreeMap::new();
    for node in nodes {
        let features = node.agent.get("/check").await?;
        by_node.insert(&node.name, features);
    }
    let complete = by_node.values().flatten().all(|feature| feature.present);
    let text: Vec<String> = by_node
        .iter()
        .map(|(node, features)| {
            let rows: Vec<Vec<String>> = features
                .iter()
                .map(|feature| {
                    let present = if feature.present { "yes" } else { "MISSING" };
                    vec![
                        feature.name.clone(),
                        feature.since.clone(),
                        present.to_owned(),
                        feature.detail.clone(),
                    ]
                })
                .collect();
            format!("Node {node}\n{}", table(&["FEATURE", "SINCE", "PRESENT", "DETAIL"], &rows))
        })
        .collect();
    let outcome = if complete { Outcome::Yes } else { Outcome::No };
    Ok((View::new(&by_node, text.join("\n")), outcome))
}
