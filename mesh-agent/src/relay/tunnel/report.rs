//! What the workers tell the control thread: every connection once when it is open, and exactly
//! once when it is over.
//!
//! The channel is bounded. A report that finds no room is counted in
//! [`Counts::reports_lost`]; the counts themselves are exact, so nothing that is measured depends
//! on the channel. [`Connection`] is a guard: however a connection ends, dropping it tells so.
//! [`requests`] of the L7 engine have a channel of their own, so that their number takes no room from
//! connections.

pub(crate) mod requests;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mesh_api::SpiffeId;
use mesh_ebpf::abi::Reason;
use mesh_ebpf::policy::SetId;
use tokio::sync::mpsc;

use super::counts::{Counts, Gauge};
use requests::Request;

/// Reports that may wait for the control thread.
pub(crate) const REPORTS: usize = 4096;

/// Octets of a report's detail; the rest is cut off.
const DETAIL: usize = 512;

/// Which side of the tunnel reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The source's node: from the application's connect to the tunnel.
    Source,
    /// The destination's node: from the tunnel to the application.
    Destination,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Bytes may flow. The same connection's end follows.
    Opened,
    /// It was open and is over; [`Report::reason`] says how.
    Closed,
    /// It never opened; [`Report::reason`] says why.
    Refused,
}

/// The name of the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerIdentity {
    /// Nothing is known of it.
    Unknown,
    /// What discovery says it must prove, which it has not.
    Expected(Arc<SpiffeId>),
    /// What its certificate proved.
    Proven(Arc<SpiffeId>),
}

impl PeerIdentity {
    /// The proven name.
    pub(crate) fn proven(&self) -> Option<&SpiffeId> {
        match self {
            Self::Proven(id) => Some(id),
            Self::Unknown | Self::Expected(_) => None,
        }
    }
}

/// One connection through the tunnel, as one side saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// Names the connection within this relay: its `Opened` and its end share it.
    pub id: u64,
    /// When this was told.
    pub at: SystemTime,
    /// Which side.
    pub side: Side,
    /// What happened.
    pub stage: Stage,
    /// UID of the local pod: the source's on [`Side::Source`], else the destination's.
    pub pod_uid: Arc<str>,
    /// The application's client, its true address. Unknown where a handshake failed before the
    /// request: the tunnel's peer then.
    pub source: Option<SocketAddr>,
    /// The endpoint behind the tunnel.
    pub destination: Option<SocketAddr>,
    /// What the application dialled, on [`Side::Source`].
    pub dialled: Option<SocketAddr>,
    /// The local pod's own name.
    pub own: Option<Arc<SpiffeId>>,
    /// The other end's name.
    pub peer: PeerIdentity,
    /// The policy set that decided: egress on [`Side::Source`] (as the kernel did), else ingress.
    pub set: SetId,
    /// Its rule.
    pub rule: u16,
    /// The rule by which the Audit policies would have denied what was let through.
    pub audit_rule: Option<u16>,
    /// Why it was refused, or how it ended; [`Reason::None`] for `Opened`.
    pub reason: Reason,
    /// What failed, for an operator: names, addresses, causes. May be empty.
    pub detail: String,
    /// Bytes the application's client sent.
    pub sent: u64,
    /// Bytes the application's client received.
    pub received: u64,
    /// Since the application's connect (source) or the request (destination).
    pub duration: Duration,
}

/// Where reports go; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    reports: mpsc::Sender<Report>,
    requests: mpsc::Sender<Request>,
    counts: Arc<Counts>,
}

/// Where reports come from.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Of connections.
    pub connections: mpsc::Receiver<Report>,
    /// Of requests.
    pub requests: mpsc::Receiver<Request>,
}

impl Reporter {
    /// Tells over channels in which so many reports may wait, and counts.
    pub(crate) fn new(room: usize, counts: Arc<Counts>) -> (Self, Reports) {
        let (reports, connections) = mpsc::channel(room);
        let (told, requests) = mpsc::channel(room);
        (Self { reports, requests: told, counts }, Reports { connections, requests })
    }

    /// The counts.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Begins a connection of the pod `pod_uid`.
    pub(crate) fn begin(&self, side: Side, pod_uid: &Arc<str>, own: Option<Arc<SpiffeId>>) -> Connection {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let open = match side {
            Side::Source => Gauge::hold(&self.counts, |counts| &counts.outbound_open),
            Side::Destination => Gauge::hold(&self.counts, |counts| &counts.inbound_open),
        };
        Connection {
            report: Report {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                at: SystemTime::now(),
                side,
                stage: Stage::Refused,
                pod_uid: Arc::clone(pod_uid),
                source: None,
                destination: None,
                dialled: None,
                own,
                peer: PeerIdentity::Unknown,
                set: SetId::EMPTY,
                rule: mesh_ebpf::policy::rule::DEFAULT,
                audit_rule: None,
                // Only a connection whose task was dropped ends without having said why.
                reason: Reason::Draining,
                detail: String::new(),
                sent: 0,
                received: 0,
                duration: Duration::ZERO,
            },
            sent: Cell::new(0),
            received: Cell::new(0),
            since: Instant::now(),
            silent: false,
            reporter: self.clone(),
            _open: open,
        }
    }

    fn send(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.counts.reports_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One connection, told of when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What will be told.
    pub report: Report,
    sent: Cell<u64>,
    received: Cell<u64>,
    since: Instant,
    silent: bool,
    reporter: Reporter,
    _open: Gauge,
}

impl Connection {
    /// Tells that bytes may flow from now on.
    pub(crate) fn opened(&mut self) {
        self.report.stage = Stage::Closed;
        self.reporter.counts.established.fetch_add(1, Ordering::Relaxed);
        self.reporter.send(Report {
            at: SystemTime::now(),
            stage: Stage::Opened,
            reason: Reason::None,
            duration: self.since.elapsed(),
            ..self.report.clone()
        });
    }

    /// Notes bytes that were carried out of the local application (`from_pod`) or into it.
    pub(crate) fn carried(&self, from_pod: bool, bytes: usize) {
        let bytes = bytes as u64;
        let counts = &self.reporter.counts;
        let (here, everywhere) = if from_pod == (self.report.side == Side::Source) {
            (&self.sent, &counts.bytes_sent)
        } else {
            (&self.received, &counts.bytes_received)
        };
        here.set(here.get() + bytes);
        everywhere.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells nothing of it: it became something that is told of otherwise.
    pub(crate) fn forget(mut self) {
        self.silent = true;
    }

    /// Ends it, saying why.
    pub(crate) fn end(mut self, reason: Reason, detail: impl Into<String>) {
        self.report.reason = reason;
        self.report.detail = detail.into();
        // Part of it may be the peer's own words.
        let end = self.report.detail.floor_char_boundary(DETAIL);
        self.report.detail.truncate(end);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        self.reporter.counts.end(self.report.reason);
        self.report.at = SystemTime::now();
        self.report.duration = self.since.elapsed();
        self.report.sent = self.sent.get();
        self.report.received = self.received.get();
        self.reporter.send(self.report.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, DETAIL, Reporter, Side, Stage};
    use crate::relay::tunnel::counts::Counts;
    use mesh_ebpf::abi::Reason;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use tokio::sync::mpsc;

    fn begin(room: usize) -> (Connection, mpsc::Receiver<super::Report>, Reporter) {
        let (reporter, reports) = Reporter::new(room, Arc::new(Counts::default()));
        (reporter.begin(Side::Source, &Arc::from("uid"), None), reports.connections, reporter)
    }

    #[test]
    fn every_connection_ends_once_however_it_ends() {
        let (mut connection, mut told, reporter) = begin(8);
        assert_eq!(reporter.counts().outbound_open.load(Ordering::Relaxed), 1);
        connection.opened();
        connection.carried(true, 3);
        connection.carried(false, 5);
        connection.end(Reason::Finished, "");
        let stages = [told.try_recv().unwrap(), told.try_recv().unwrap()];
        assert_eq!(stages.clone().map(|report| report.stage), [Stage::Opened, Stage::Closed]);
        assert_eq!(stages[0].id, stages[1].id);
        assert_eq!((stages[1].sent, stages[1].received, stages[1].reason), (3, 5, Reason::Finished));
        assert!(told.try_recv().is_err());
        drop(reporter.begin(Side::Destination, &Arc::from("uid"), None));
        assert_eq!(told.try_recv().unwrap().stage, Stage::Refused);
        assert_eq!(reporter.counts().outbound_open.load(Ordering::Relaxed), 0);
        assert_eq!(
            reporter.counts().ended().collect::<Vec<_>>(),
            [(Reason::Finished, 1), (Reason::Draining, 1)]
        );
    }

    #[test]
    fn nobody_fills_the_log_with_a_detail() {
        let (connection, mut told, _reporter) = begin(1);
        connection.end(Reason::PeerFailed, "é".repeat(DETAIL));
        let detail = told.try_recv().unwrap().detail;
        assert!(detail.len() <= DETAIL && detail.len() > DETAIL - 4, "{}", detail.len());
    }

    #[test]
    fn a_full_channel_loses_reports_but_no_counts() {
        let (connection, mut told, reporter) = begin(1);
        drop(connection);
        reporter.begin(Side::Source, &Arc::from("uid"), None).end(Reason::NameMismatch, "");
        assert_eq!(reporter.counts().reports_lost.load(Ordering::Relaxed), 1);
        assert_eq!(reporter.counts().ended().map(|(_, count)| count).sum::<u64>(), 2);
        assert!(told.try_recv().is_ok());
    }
}
