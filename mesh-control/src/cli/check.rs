//! `meshctl check`: which kernel features the data path uses, and which of them it has.

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
    /// Only an agent of this version or a later one says it.
    #[serde(default = "yes")]
    needed: bool,
    detail: String,
}

const fn yes() -> bool {
    true
}

/// Asks every node.
pub(super) async fn check(nodes: &[Node]) -> Result<(View, Outcome), CliError> {
    let mut by_node: BTreeMap<&str, Vec<Feature>> = BTreeMap::new();
    for node in nodes {
        let features = node.agent.get("/check").await?;
        by_node.insert(&node.name, features);
    }
    let complete = by_node.values().flatten().all(|feature| feature.present || !feature.needed);
    let text: Vec<String> = by_node
        .iter()
        .map(|(node, features)| {
            let rows: Vec<Vec<String>> = features
                .iter()
                .map(|feature| {
                    let present = match (feature.present, feature.needed) {
                        (true, _) => "yes",
                        (false, true) => "MISSING",
                        (false, false) => "no, not needed",
                    };
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
