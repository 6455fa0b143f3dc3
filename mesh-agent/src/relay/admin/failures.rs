//! What went wrong last, and what each reason means: what `meshctl explain` shows.

use mesh_ebpf::abi::Reason;
use serde::Serialize;

use super::query::Query;
use super::{AdminError, json};
use crate::relay::engine::record::Ending;
use crate::relay::node::Node;
use crate::relay::serve::Answer;
use crate::relay::telemetry::{
    Failure, Happened, Line, RequestLine, Told, time_of_event, told, told_of_request,
};

/// One row of `GET /failures`: the latest of a kind, as the access log tells it, and its kind.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    line: Latest<'a>,
    /// How many there were, the first at `first`.
    count: u64,
    first: String,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "each is written at once")]
enum Latest<'a> {
    Connection(Line<'a>),
    Request(Box<RequestLine<'a>>),
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

/// `GET /denial?id=`: the request that was denied with this identifier.
pub(super) fn denial(node: &Node, query: &Query) -> Result<Answer, AdminError> {
    let id = query.text("id");
    let telemetry = node.telemetry.borrow();
    let found = telemetry.denial(id);
    json(&RequestLine::of(found.ok_or_else(|| AdminError::Unknown { what: "denial", name: id.to_owned() })?))
}

/// `GET /reasons`: every reason's texts, of connections and then of requests.
pub(super) fn reasons() -> Vec<Meaning> {
    let row = |name, Told { meaning, check }| Meaning { name, meaning, check };
    let named = Reason::ALL.into_iter().filter(|reason| *reason != Reason::None);
    let mut all: Vec<Meaning> = named.map(|reason| row(reason.name(), told(reason))).collect();
    for ending in Ending::ALL {
        // One name has one meaning.
        if all.iter().all(|known| known.name != ending.name()) {
            all.push(row(ending.name(), told_of_request(ending)));
        }
    }
    all
}

impl<'a> Row<'a> {
    fn of(failure: &'a Failure) -> Self {
        let line = match &failure.latest {
            Happened::Connection(record) => Latest::Connection(Line::of(record)),
            Happened::Request(resolved) => Latest::Request(Box::new(RequestLine::of(resolved))),
        };
        Self { line, count: failure.count, first: time_of_event(failure.first) }
    }
}

#[cfg(test)]
mod tests {
    use super::reasons;
    use crate::relay::engine::record::Ending;
    use mesh_ebpf::abi::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_is_told_once() {
        let all = reasons();
        assert_eq!(all[0].name, "PolicyDenied");
        let told: BTreeSet<&str> = all.iter().map(|reason| reason.name).collect();
        assert_eq!(told.len(), all.len());
        assert!(Reason::ALL.iter().skip(1).all(|reason| told.contains(reason.name())));
        assert!(Ending::ALL.iter().all(|ending| told.contains(ending.name())));
    }
}
