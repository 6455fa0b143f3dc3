//! What went wrong last on this node, for `meshctl explain`: the most recent refusals and failures of
//! connections and requests, those of one kind between the same two as one, so that a hammering client does not push out the
//! others.

use std::collections::VecDeque;
use std::net::IpAddr;

use mesh_ebpf::abi::Reason;
use mesh_ebpf::policy::Direction;

use super::record::{Party, Record, Transport};
use super::requests::Resolved;
use crate::relay::engine::record::Ending;

/// How many are remembered.
const LIMIT: usize = 256;

/// What was refused or failed.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "at most a few hundred are kept")]
pub(crate) enum Happened {
    /// A connection.
    Connection(Record),
    /// A request.
    Request(Resolved),
}

/// A refusal or a failure, with those like it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The latest.
    pub latest: Happened,
    /// When the first was, Unix time, nanoseconds.
    pub first: u64,
    /// How many there were since.
    pub count: u64,
}

/// The most recent ones.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The latest last.
    latest: VecDeque<Failure>,
}

impl Failures {
    /// Notes one.
    pub(super) fn note(&mut self, latest: Happened) {
        let alike = self.latest.iter().rposition(|known| known.latest.kind() == latest.kind());
        let (first, count) = match alike.and_then(|at| self.latest.remove(at)) {
            Some(known) => (known.first, known.count + 1),
            None => (latest.unix_nanoseconds(), 1),
        };
        if self.latest.len() >= LIMIT {
            self.latest.pop_front();
        }
        self.latest.push_back(Failure { latest, first, count });
    }

    /// The latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Failure> {
        self.latest.iter().rev()
    }
}

impl Failure {
    /// Whether a pod, `<namespace>/<name>`, is on either side.
    pub(crate) fn concerns(&self, pod: &str) -> bool {
        let named = pod.split_once('/');
        let is = |party: &Party| named == Some((party.namespace.as_str(), party.pod.as_str()));
        self.latest.ends().into_iter().any(is)
    }
}

/// What makes two of them one: all but time, the client's port, the detail, and what a request asks for.
#[derive(PartialEq)]
struct Alike<'a> {
    why: Why<'a>,
    reporter: Direction,
    source: Option<IpAddr>,
    destination: Option<(IpAddr, u16)>,
    pods: [&'a str; 2],
}

#[derive(PartialEq)]
enum Why<'a> {
    Connection { reason: Reason, tunnel: bool, protocol: u8 },
    Request { ending: Ending, by: [Option<&'a str>; 4] },
}

impl Happened {
    fn unix_nanoseconds(&self) -> u64 {
        match self {
            Self::Connection(record) => record.unix_nanoseconds,
            Self::Request(resolved) => resolved.unix_nanoseconds(),
        }
    }

    fn ends(&self) -> [&Party; 2] {
        match self {
            Self::Connection(record) => [&record.source, &record.destination],
            Self::Request(resolved) => [&resolved.source, &resolved.destination],
        }
    }

    fn kind(&self) -> Alike<'_> {
        let (why, reporter) = match self {
            Self::Connection(record) => {
                let tunnel = record.transport == Transport::Tunnel;
                let why = Why::Connection { reason: record.reason, tunnel, protocol: record.protocol };
                (why, record.reporter)
            }
            Self::Request(resolved) => {
                let labels = &resolved.told.labels;
                let by = [&labels.route, &labels.rule, &labels.policy, &labels.policy_rule];
                let by = by.map(|name| name.as_deref());
                (Why::Request { ending: resolved.told.ending, by }, resolved.reporter)
            }
        };
        let [source, destination] = self.ends();
        Alike {
            why,
            reporter,
            source: source.address.map(|(address, _)| address),
            destination: destination.address,
            pods: [&source.pod, &destination.pod],
        }
    }
}
