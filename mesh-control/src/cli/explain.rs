//! `meshctl explain`: what was refused or failed lately, what that means and what to check. The
//! texts are the agents': a reason has one explanation, wherever it is read. [`mod@pod`] and [`mod@service`] tell
//! of one object, [`mod@denial`] of one request.

mod denial;
mod pod;
mod routes;
mod service;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::encode;
use super::node::{Node, each};
use super::output::View;
use super::{CliError, Outcome};

pub(super) use denial::denial;
pub(super) use pod::pod;
pub(super) use service::service;

/// There is no such reason.
#[derive(Debug, thiserror::Error)]
#[error("there is no reason `{wanted}`; there are: {known}")]
pub(super) struct UnknownReason {
    wanted: String,
    known: String,
}

/// What a reason means.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reason {
    name: String,
    meaning: String,
    check: String,
}

/// What a node's socket answers of a failure; the rest is passed on to programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Failure {
    #[serde(default)]
    node: String,
    time: String,
    first: String,
    count: u64,
    reason: String,
    reporter: String,
    source: Side,
    destination: Side,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Side {
    address: String,
    #[serde(default)]
    pod: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    identity: String,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Explained {
    /// Those that happened, the latest first, or the one that was asked for.
    reasons: Vec<Reason>,
    /// The latest first.
    failures: Vec<Failure>,
    /// Why some nodes did not answer.
    unanswered: Vec<String>,
}

impl Explained {
    /// Whether there is nothing to tell.
    fn is_empty(&self) -> bool {
        self.failures.is_empty() && self.unanswered.is_empty()
    }
}

/// Asks every node; who does not answer is part of the answer, unless nobody does.
pub(super) async fn explain(
    nodes: &[Node],
    reason: Option<&str>,
    pod: Option<&str>,
) -> Result<(View, Outcome), CliError> {
    let explained = collected(nodes, reason, pod).await?;
    let outcome = if explained.is_empty() { Outcome::Yes } else { Outcome::No };
    Ok((View::new(&explained, text(&explained)), outcome))
}

async fn collected(nodes: &[Node], reason: Option<&str>, pod: Option<&str>) -> Result<Explained, CliError> {
    let mut known: Vec<Reason> = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    let mut errors = Vec::new();
    for (node, answer) in each(nodes, |node| async move { (node, ask(node, pod).await) }).await {
        match answer {
            Ok((reasons, of_node)) => {
                // Agents of several versions may know different ones.
                let new = |reason: &Reason| known.iter().all(|one| one.name != reason.name);
                let new: Vec<Reason> = reasons.into_iter().filter(new).collect();
                known.extend(new);
                failures.extend(of_node.into_iter().map(|one| Failure { node: node.name.clone(), ..one }));
            }
            Err(error) => errors.push(error),
        }
    }
    if known.is_empty()
        && let Some(error) = errors.pop()
    {
        return Err(error);
    }
    failures.sort_by(|a, b| b.time.cmp(&a.time));
    let reasons = match reason {
        Some(name) => vec![find(&known, name)?],
        None => happened(&known, &failures),
    };
    failures.retain(|failure| reasons.iter().any(|reason| reason.name == failure.reason));
    let unanswered: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Ok(Explained { reasons, failures, unanswered })
}

async fn ask(node: &Node, pod: Option<&str>) -> Result<(Vec<Reason>, Vec<Failure>), CliError> {
    let path = pod.map_or_else(|| "/failures".to_owned(), |pod| format!("/failures?pod={}", encode(pod)));
    Ok((node.agent.get("/reasons").await?, node.agent.get(&path).await?))
}

fn find(known: &[Reason], name: &str) -> Result<Reason, UnknownReason> {
    known.iter().find(|reason| reason.name.eq_ignore_ascii_case(name)).cloned().ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|reason| reason.name.as_str()).collect();
        UnknownReason { wanted: name.to_owned(), known: names.join(", ") }
    })
}

/// The reasons of failures, in their order, each once.
fn happened(known: &[Reason], failures: &[Failure]) -> Vec<Reason> {
    let mut found: Vec<Reason> = Vec::new();
    for failure in failures {
        let texts = known.iter().find(|reason| reason.name == failure.reason);
        found.extend(texts.filter(|reason| found.iter().all(|one| one.name != reason.name)).cloned());
    }
    found
}

fn text(explained: &Explained) -> String {
    let mut text = String::new();
    for reason in &explained.reasons {
        text.push_str(&format!("{}: {}\n", reason.name, reason.meaning));
        if !reason.check.is_empty() {
            text.push_str(&format!("  check {}\n", reason.check));
        }
        for failure in explained.failures.iter().filter(|failure| failure.reason == reason.name) {
            text.push_str(&failure.lines());
        }
        text.push('\n');
    }
    if explained.failures.is_empty() {
        let why = if explained.reasons.is_empty() { "" } else { " for this reason" };
        text.push_str(&format!("Nothing was refused or failed{why} lately.\n"));
    }
    for error in &explained.unanswered {
        text.push_str(&format!("{error}\n"));
    }
    text
}

impl Failure {
    fn lines(&self) -> String {
        let often = match self.count {
            1 => String::new(),
            count => format!(", {count} times since {}", self.first),
        };
        let mut text = format!("  {} {}{often}, told by the {}\n", self.node, self.time, self.reporter);
        text.push_str(&format!("    {} -> {}\n", self.source.text(), self.destination.text()));
        for (name, value) in more(&self.rest) {
            text.push_str(&format!("    {name} {value}\n"));
        }
        text
    }
}

/// What a line says besides who and when: of a request, what it asked for and what decided on it.
fn more(rest: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let text = |field: &str| rest.get(field).and_then(Value::as_str).unwrap_or_default();
    let joined = |fields: [&str; 2]| fields.map(text).join(" ").trim().to_owned();
    [
        ("expected", text("expected_identity").to_owned()),
        ("request", joined(["method", "path"])),
        ("route", joined(["route", "route_rule"])),
        ("rule", joined(["policy", "rule"])),
        ("denial", text("denial").to_owned()),
        ("detail", text("detail").to_owned()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

impl Side {
    fn text(&self) -> String {
        let pod = match (self.namespace.as_str(), self.pod.as_str()) {
            (_, "") => String::new(),
            (namespace, pod) => format!("{namespace}/{pod}"),
        };
        let address = if self.address.is_empty() { "(unknown address)" } else { &self.address };
        let parts = [pod.as_str(), address, self.identity.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}
