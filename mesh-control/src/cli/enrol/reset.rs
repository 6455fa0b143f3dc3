//! `--reset`: has the agents end what the pods have open from before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::client::{ClientError, encode};
use super::super::node::{Node, each};
use super::Row;

/// What an agent answers to `POST /reset`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Done {
    ended: u64,
    left: u64,
}

/// Asks the nodes of those pods that are in the state which was waited for; whether everything was ended.
/// Several nodes at a time, the pods of each one by one.
pub(super) async fn reset(nodes: &[Node], rows: &mut [Row], enrol: bool) -> bool {
    let (wanted, state) = super::wanted(enrol);
    let due = |row: &Row| row.expected == wanted && row.state.as_deref() == Some(state);
    let mut by_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| due(row)) {
        by_node.entry(row.node.clone()).or_default().insert(row.pod.clone());
    }
    let by_node = &by_node;
    let answers = each(nodes, |node| async move {
        let mut answers = Vec::new();
        for pod in by_node.get(&node.name).into_iter().flatten() {
            let path = format!("/reset?pod={}&enrolled={enrol}", encode(pod));
            answers.push(((node.name.clone(), pod.clone()), node.agent.post::<Done>(&path).await));
        }
        answers
    });
    // Two nodes may have a pod of that name for a moment, the one that ends and the one in its place.
    let answers: BTreeMap<(String, String), Result<Done, ClientError>> =
        answers.await.into_iter().flatten().collect();
    let mut everything = true;
    for row in rows.iter_mut().filter(|row| due(row)) {
        match answers.get(&(row.node.clone(), row.pod.clone())) {
            None => {
                everything = false;
                row.reason = format!(
                    "its connections from before are not ended: no agent of the mesh is on node {} to be asked; \
                     run the same command again when one is",
                    row.node
                );
            }
            Some(Ok(Done { ended, left })) => {
                row.ended = Some(*ended);
                if *left > 0 {
                    everything = false;
                    row.reason = format!(
                        "{left} connections from before could not be ended; wire's log on node {} says why",
                        row.node
                    );
                }
            }
            Some(Err(error)) => {
                everything = false;
                row.reason = format!(
                    "its connections from before may not all be ended: {error}; run the same command again then"
                );
            }
        }
    }
    everything
}
