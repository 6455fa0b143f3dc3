//! Connections through the tunnel: the workers' reports, as the same records, series and lines as
//! what the kernel carries alone.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use mesh_ebpf::abi::{Reason, TCP};
use mesh_ebpf::policy::Direction;
use tokio::sync::mpsc;

use super::flows::Progress;
use super::labels::{DenialLabels, FlowLabels};
use super::reasons::is_denial;
use super::record::{Party, Proof, Record, Transport, Verdict};
use super::{Context, Telemetry};
use crate::handover::uid_hash;
use crate::relay::node::Node;
use crate::relay::tunnel::report::{PeerIdentity, Report, Reports, Side, Stage};

/// Reports taken at once, between which other tasks have their turn.
const BATCH: usize = 256;

/// Takes what the workers report until they are gone.
pub(crate) async fn follow(node: Rc<Node>, reports: Reports) {
    let connections = each(&node, reports.connections, |telemetry, report, context| {
        telemetry.tunnelled(&report, context);
    });
    let requests = each(&node, reports.requests, Telemetry::requested);
    tokio::join!(connections, requests);
}

async fn each<T>(
    node: &Node,
    mut reports: mpsc::Receiver<T>,
    mut take: impl FnMut(&mut Telemetry, T, Context<'_>),
) {
    let mut batch = Vec::with_capacity(BATCH);
    while reports.recv_many(&mut batch, BATCH).await > 0 {
        node.report(|telemetry, context| {
            for report in batch.drain(..) {
                take(telemetry, report, context);
            }
        });
        tokio::task::yield_now().await;
    }
}

impl Telemetry {
    /// Takes what the workers tell of one connection.
    pub(crate) fn tunnelled(&mut self, report: &Report, context: Context<'_>) {
        let mut record = Record::tunnelled(report, context);
        self.explain(report, &mut record, context);
        let labels = FlowLabels::of(&record);
        match record.verdict {
            Verdict::Opened => self.metrics.connections.opened(&labels),
            Verdict::Ended => {
                self.metrics.connections.closed(&labels, record.reason, report.duration);
                let (sent, received) = (record.bytes_sent, record.bytes_received);
                self.metrics.connections.moved(&labels, Progress { sent, received, retransmits: 0 });
            }
            Verdict::Failed => self.metrics.connections.failed(&labels, record.reason),
            Verdict::Denied | Verdict::Audited => {
                self.metrics.connections.denied(&DenialLabels::of_record(&record), false, 1);
            }
        }
        let (pod, at) = (uid_hash(&report.pod_uid), record.unix_nanoseconds);
        let admitted = !record.is_trouble() || self.pace.admits(pod, at);
        self.tell(record, admitted);
        if let Some(audited) = audited(report, context) {
            self.metrics.connections.denied(&DenialLabels::of_record(&audited), true, 1);
            let admitted = self.pace.admits(pod, at);
            self.tell(audited, admitted);
        }
    }
}

impl Telemetry {
    /// Gives the end of a connection that the mesh itself ended its reason and rule.
    fn explain(&mut self, report: &Report, record: &mut Record, context: Context<'_>) {
        let (Verdict::Ended, Some(source), Some(destination)) =
            (record.verdict, record.source.address, record.destination.address)
        else {
            return;
        };
        if let Some(ended) = self.endings.take(source, destination).filter(|_| report.side == Side::Source) {
            record.reason = ended.reason;
            record.rule = context.names.rule(ended.set, ended.rule, record.reporter);
            record.detail.clear();
        }
    }
}

/// What an Audit policy would have refused, told once: when the connection opens.
fn audited(report: &Report, context: Context<'_>) -> Option<Record> {
    let rule = report.audit_rule.filter(|_| report.stage == Stage::Opened)?;
    let record = Record::tunnelled(report, context);
    let reason = Reason::of_rule(rule);
    let rule = context.names.rule(report.set, rule, record.reporter);
    Some(Record { verdict: Verdict::Audited, reason, rule, ..record })
}

impl Record {
    /// Resolves a worker's report.
    pub(super) fn tunnelled(report: &Report, context: Context<'_>) -> Self {
        let own = Party {
            identity: report.own.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Party::by_hash(uid_hash(&report.pod_uid), 0, false, context)
        };
        let side = |mut party: Party, address: Option<SocketAddr>| {
            party.address = address.map(|address| (address.ip(), address.port()));
            party
        };
        let (reporter, source, destination) = match report.side {
            Side::Source => (Direction::Egress, own, peer(&report.peer, report.destination, context)),
            Side::Destination => (Direction::Ingress, peer(&report.peer, report.source, context), own),
        };
        let proof = match (&report.peer, report.side) {
            (PeerIdentity::Proven(_), _) => Proof::Mtls,
            (_, Side::Source) => Proof::Kernel,
            (_, Side::Destination) => Proof::Unproven,
        };
        let dialled = report.dialled.map(|dialled| (dialled.ip(), dialled.port()));
        let service = dialled.and_then(|(address, port)| context.desired.service_at(address, port, TCP));
        // The report counts as the client does; a line counts as its reporter does.
        let (bytes_sent, bytes_received) = match report.side {
            Side::Source => (report.sent, report.received),
            Side::Destination => (report.received, report.sent),
        };
        Self {
            unix_nanoseconds: nanoseconds(report.at.duration_since(UNIX_EPOCH).unwrap_or_default()),
            reporter,
            verdict: match report.stage {
                Stage::Opened => Verdict::Opened,
                Stage::Closed => Verdict::Ended,
                Stage::Refused if is_denial(report.reason) => Verdict::Denied,
                Stage::Refused => Verdict::Failed,
            },
            reason: report.reason,
            proof,
            transport: Transport::Tunnel,
            rule: context.names.rule(report.set, report.rule, reporter),
            protocol: TCP,
            source: side(source, report.source),
            destination: side(destination, report.destination),
            dialled,
            service: service.map(|service| service.name.clone()).unwrap_or_default(),
            duration_nanoseconds: nanoseconds(report.duration),
            bytes_sent,
            bytes_received,
            rtt_microseconds: 0,
            retransmits: 0,
            expected: match &report.peer {
                PeerIdentity::Expected(id) => id.to_string(),
                PeerIdentity::Unknown | PeerIdentity::Proven(_) => String::new(),
            },
            detail: report.detail.clone(),
        }
    }
}

/// The other end: what it has proven, and the pod at its address unless that contradicts it.
pub(super) fn peer(peer: &PeerIdentity, address: Option<SocketAddr>, context: Context<'_>) -> Party {
    let mut party = Party::default();
    if let Some(address) = address {
        party.find_pod(address.ip(), context);
    }
    let Some(id) = peer.proven() else { return party };
    let identity = id.to_string();
    let at_address = address.into_iter().flat_map(|address| context.desired.workloads_at(address.ip()));
    let mut named = at_address.map(|workload| context.names.identity(&workload.into()));
    if !named.any(|name| name == identity) {
        party = Party { namespace: id.namespace().to_owned(), ..Party::default() };
    }
    Party { identity, ..party }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
