//! What went wrong last on this node, for `meshctl explain`: the most recent refusals and failures,
//! those of one kind between the same two as one, so that a hammering client does not push out the
//! others.

use std::collections::VecDeque;
use std::net::IpAddr;

use mesh_ebpf::abi::Reason;
use mesh_ebpf::policy::Direction;

use super::record::{Party, Record, Transport};

/// How many are remembered.
const LIMIT: usize = 256;

/// A refusal or a failure, with those like it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The latest.
    pub record: Record,
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
    pub(super) fn note(&mut self, record: Record) {
        let alike = self.latest.iter().rposition(|known| kind(&known.record) == kind(&record));
        let (first, count) = match alike.and_then(|at| self.latest.remove(at)) {
            Some(known) => (known.first, known.count + 1),
            None => (record.unix_nanoseconds, 1),
        };
        if self.latest.len() >= LIMIT {
            self.latest.pop_front();
        }
        self.latest.push_back(Failure { record, first, count });
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
        is(&self.record.source) || is(&self.record.destination)
    }
}

/// What makes two of them one: all but time, the client's port and the detail.
type Alike<'a> = (Reason, Direction, bool, u8, Option<IpAddr>, Option<(IpAddr, u16)>, &'a str, &'a str);

fn kind(record: &Record) -> Alike<'_> {
    (
        record.reason,
        record.reporter,
        record.transport == Transport::Tunnel,
        record.protocol,
        record.source.address.map(|(address, _)| address),
        record.destination.address,
        &record.source.pod,
        &record.destination.pod,
    )
}
