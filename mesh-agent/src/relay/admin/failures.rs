//! What went wrong last, and what each reason means: what `meshctl explain` shows.

use mesh_ebpf::abi::Reason;
use serde::Serialize;

use super::query::Query;
use super::{AdminError, json};
use crate::relay::node::Node;
use crate::relay::serve::Answer;
use crate::relay::telemetry::{Failure, Line, time_of_event, told};

/// One row of `GET /failures`: the latest of a kind, as the access log tells it, and its kind.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    /// How many there were, the first at `first`.
    count: u64,
    first: String,
}

/// One row of `GET /reasons`.
#[derive(Debug, Serialize)]
pub(super) struct Meaning {
    name: &'static str,
    meaning: &'static str,
    check: &'static str,
}

/// `GET /failures`, the latest first, all or those of a pod.
pub(super) fn failures(node: &Node, query: &Query) -> Result<Answer, AdminError> {
    let pod = query.text("pod");
    let telemetry = node.telemetry.borrow();
    let wanted = |failure: &&Failure| pod.is_empty() || failure.concerns(pod);
    let rows: Vec<Row<'_>> = telemetry.failures().latest().filter(wanted).map(Row::of).collect();
    json(&rows)
}

/// `GET /reasons`: every reason's texts.
pub(super) fn reasons() -> Vec<Meaning> {
    let named = Reason::ALL.into_iter().filter(|reason| *reason != Reason::None);
    named
        .map(|reason| {
            let told = told(reason);
            Meaning { name: reason.name(), meaning: told.meaning, check: told.check }
        })
        .collect()
}

impl<'a> Row<'a> {
    fn of(failure: &'a Failure) -> Self {
        Self { line: Line::of(&failure.record), count: failure.count, first: time_of_event(failure.first) }
    }
}

#[cfg(test)]
mod tests {
    use super::reasons;
    use mesh_ebpf::abi::Reason;

    #[test]
    fn every_reason_is_told() {
        let all = serde_json::to_value(reasons()).unwrap();
        assert_eq!(all.as_array().map(Vec::len), Some(Reason::ALL.len() - 1));
        assert_eq!(all[0]["name"], "PolicyDenied");
    }
}
