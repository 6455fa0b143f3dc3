//! `meshctl check`: on a cluster whether it is fit for the mesh and the mesh in it in order, which
//! [`check`](crate::check) decides; in a run directory which kernel features the nodes have.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::gather::seen;
use super::node::{Node, each};
use super::output::{View, table};
use super::{CliError, Outcome};
use crate::check::{Feature, Finding, Level, run};

/// Judges a cluster; before the installation with `pre`.
pub(super) async fn cluster(cluster: &Cluster, pre: bool) -> (View, Outcome) {
    let findings = run(&seen(cluster, pre).await, pre);
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    let text = text(&findings);
    (View::new(&findings, text), if failed { Outcome::No } else { Outcome::Yes })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = match finding.level {
            Level::Ok => "ok     ",
            Level::Skipped => "skipped",
            Level::Warn => "WARN   ",
            Level::Fail => "FAIL   ",
        };
        let mut lines = finding.found.iter();
        let first = lines.next().map_or("", String::as_str);
        text.push_str(&format!("{} {word} {}: {first}\n", finding.id, finding.about));
        for line in lines {
            text.push_str(&format!("{:17} {line}\n", ""));
        }
        for line in &finding.todo {
            text.push_str(&format!("{:17} -> {line}\n", ""));
        }
    }
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    text.push_str(&format!(
        "\n{} ok, {} warnings, {} failed, {} skipped; docs/checks.md has a section for each\n",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail),
        count(Level::Skipped)
    ));
    text
}

/// Asks every node for its kernel's features.
pub(super) async fn features(nodes: &[Node]) -> Result<(View, Outcome), CliError> {
    let mut by_node: BTreeMap<&str, Vec<Feature>> = BTreeMap::new();
    for (node, features) in
        each(nodes, |node| async move { (node.name.as_str(), node.agent.get("/check").await) }).await
    {
        by_node.insert(node, features?);
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
