//! `meshctl identity`: the certificates of the identities on the nodes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::node::{Node, each};
use super::output::{View, cell, table};
use super::{CliError, Outcome};

/// A node's identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    #[serde(default)]
    node: String,
    id: String,
    state: String,
    pods: Vec<String>,
    serial: String,
    issuer: String,
    not_before: String,
    not_after: String,
    /// Negative after the end, nothing without a certificate.
    expires_in_seconds: Option<i64>,
    next_attempt: String,
    failed_attempts: u32,
    error: String,
}

/// Asks every node.
pub(super) async fn identity(
    nodes: &[Node],
    expiring: Option<Duration>,
) -> Result<(View, Outcome), CliError> {
    let mut identities: Vec<Identity> = Vec::new();
    for (node, of_node) in
        each(nodes, |node| async move { (node, node.agent.get("/identities").await) }).await
    {
        let of_node: Vec<Identity> = of_node?;
        identities.extend(of_node.into_iter().map(|one| Identity { node: node.name.clone(), ..one }));
    }
    let outcome = match expiring {
        Some(within) => {
            identities.retain(|identity| identity.ends_within(within));
            identities.is_empty()
        }
        None => identities.iter().all(|identity| identity.state == "valid"),
    };
    let text = text(&identities);
    Ok((View::new(&identities, text), if outcome { Outcome::Yes } else { Outcome::No }))
}

impl Identity {
    /// Whether it has no certificate, or one that ends within this time.
    fn ends_within(&self, time: Duration) -> bool {
        let within = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.expires_in_seconds.is_none_or(|left| left <= within)
    }
}

fn text(identities: &[Identity]) -> String {
    if identities.is_empty() {
        return "None.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = identities
        .iter()
        .map(|identity| {
            vec![
                identity.node.clone(),
                identity.id.clone(),
                identity.state.clone(),
                identity.expires_in_seconds.map_or_else(|| "-".to_owned(), left),
                cell(&identity.serial),
                cell(&identity.pods.join(", ")),
            ]
        })
        .collect();
    let mut text = table(&["NODE", "IDENTITY", "STATE", "EXPIRES", "SERIAL", "PODS"], &rows);
    for identity in identities.iter().filter(|identity| !identity.error.is_empty()) {
        text.push_str(&format!(
            "  {} {}: {} ({} attempts failed, the next at {})\n",
            identity.node, identity.id, identity.error, identity.failed_attempts, identity.next_attempt
        ));
    }
    text
}

/// A time left, in its two largest units.
pub(super) fn left(seconds: i64) -> String {
    let (amount, ago) = (seconds.unsigned_abs(), seconds < 0);
    let text = match (amount / 86_400, amount / 3600 % 24, amount / 60 % 60, amount % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, _, _) => format!("{days}d{hours}h"),
    };
    if ago { format!("{text} ago") } else { format!("in {text}") }
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn a_time_left_is_short() {
        let texts = [0, 59, 61, 3700, 90_000, -61].map(left);
        assert_eq!(texts, ["in 0s", "in 59s", "in 1m1s", "in 1h1m", "in 1d1h", "1m1s ago"]);
    }
}
