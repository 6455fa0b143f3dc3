//! Whether a cluster is fit for the mesh, and whether the mesh in it is in order: what `meshctl check`
//! tells.
//!
//! [`Seen`] is what was listed and asked, with the reason where that was not possible. Every check is a
//! pure function over it, with an id that does not change and a section in `docs/checks.md`. What
//! a check cannot know it skips and says why, so nothing is green that was not looked at.

mod agents;
mod callers;
mod enrolled;
mod fitness;
mod network;
mod others;
mod parts;
mod privileged;
mod rights;
mod seen;
mod socket_lb;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub(crate) use parts::WARNINGS;
pub use rights::{Right, rights};
pub use seen::{Agent, AgentStatus, Answered, Controller, Feature, Known, Seen, Unknown};

/// The most objects that one finding names.
const NAMED: usize = 10;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// In order.
    Ok,
    /// What it is about could not be looked at.
    Skipped,
    /// It works, and somebody should know.
    Warn,
    /// It does not work.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Never changes its meaning.
    pub id: &'static str,
    /// What was looked at.
    pub about: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found; a line each.
    pub found: Vec<String>,
    /// What to do about it; a line each.
    pub todo: Vec<String>,
}

/// What a check says: nothing found is in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Verdict {
    level: Option<Level>,
    found: Vec<String>,
    todo: Vec<String>,
}

/// The answer of a check, or why there is none.
type Checked = Result<Verdict, Unknown>;

impl Verdict {
    /// In order, with a word on what was seen.
    fn ok(what: impl Into<String>) -> Self {
        Self { level: None, found: vec![what.into()], todo: Vec::new() }
    }

    /// Something is not in order.
    fn add(&mut self, level: Level, found: impl Into<String>, todo: impl Into<String>) {
        if self.level.is_none() {
            self.found.clear();
        }
        self.level = self.level.max(Some(level));
        self.found.push(found.into());
        let todo = todo.into();
        if !todo.is_empty() && !self.todo.contains(&todo) {
            self.todo.push(todo);
        }
    }

    fn warn(&mut self, found: impl Into<String>, todo: impl Into<String>) {
        self.add(Level::Warn, found, todo);
    }

    fn fail(&mut self, found: impl Into<String>, todo: impl Into<String>) {
        self.add(Level::Fail, found, todo);
    }
}

/// When a check is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the mesh is installed and afterwards.
    Always,
    /// Only where it is installed.
    Installed,
}

/// A check.
struct Check {
    id: &'static str,
    about: &'static str,
    when: When,
    decide: fn(&Seen) -> Checked,
}

const fn check(id: &'static str, about: &'static str, when: When, decide: fn(&Seen) -> Checked) -> Check {
    Check { id, about, when, decide }
}

/// Every check, by id.
const CHECKS: [Check; 19] = [
    check("MESH-C001", "Kubernetes' version", When::Always, fitness::kubernetes),
    check("MESH-C002", "your rights", When::Always, rights::granted),
    check("MESH-C003", "nodes: system, architecture, kernel", When::Always, fitness::nodes),
    check("MESH-C004", "kernel features of every node", When::Installed, agents::features),
    check("MESH-C005", "definitions of the mesh's kinds", When::Installed, parts::definitions),
    check("MESH-C006", "the controller", When::Installed, parts::controller),
    check("MESH-C007", "an agent on every node", When::Installed, parts::agents),
    check("MESH-C008", "agents connected and up to date", When::Installed, agents::current),
    check("MESH-C009", "one version of everything", When::Installed, agents::versions),
    check("MESH-C010", "conditions of the mesh's objects", When::Installed, parts::conditions),
    check("MESH-C011", "the certificate authority", When::Installed, parts::authority),
    check("MESH-C012", "enrolled pods where there is an agent", When::Installed, agents::homeless),
    check("MESH-C013", "other meshes", When::Always, others::meshes),
    check("MESH-C014", "socket load balancers", When::Always, socket_lb::balancers),
    check("MESH-C015", "NetworkPolicies and port 15008", When::Always, network::policies),
    check("MESH-C016", "what the API server calls in Required pods", When::Installed, callers::api_server),
    check("MESH-C017", "scrapers of Required pods", When::Installed, callers::scrapers),
    check("MESH-C018", "enrolled pods that are root on their node", When::Always, privileged::pods),
    check("MESH-C019", "Pod Security in the mesh's namespace", When::Always, fitness::pod_security),
];

/// Decides every check; with `pre` only those that do not need the mesh.
#[must_use]
pub fn run(seen: &Seen, pre: bool) -> Vec<Finding> {
    let wanted = CHECKS.iter().filter(|check| !pre || check.when == When::Always);
    wanted.map(|check| check.finding(seen)).collect()
}

impl Check {
    fn finding(&self, seen: &Seen) -> Finding {
        let (level, found, todo) = match (self.decide)(seen) {
            Ok(verdict) => {
                (verdict.level.unwrap_or(Level::Ok), shortened(verdict.found), shortened(verdict.todo))
            }
            Err(Unknown(why)) => (Level::Skipped, vec![why], Vec::new()),
        };
        Finding { id: self.id, about: self.about, level, found, todo }
    }
}

/// As many lines as may be shown, and how many there are besides.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(NAMED);
    if more > 0 {
        lines.truncate(NAMED);
        lines.push(format!("and {more} more"));
    }
    lines
}
