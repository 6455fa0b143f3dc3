//! Connections and refusals, by who they are between: of the kernel and of the tunnel alike.

use std::time::Duration;

use mesh_ebpf::abi::Reason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::super::bounded::Bounded;
use super::super::flows::Progress;
use super::super::labels::{DenialLabels, EndLabels, FlowLabels};
use super::families::Families;

/// What happened to connections.
#[derive(Debug)]
pub(crate) struct Connections {
    opened: Bounded<FlowLabels, Counter>,
    closed: Bounded<EndLabels, Counter>,
    failed: Bounded<EndLabels, Counter>,
    sent: Bounded<FlowLabels, Counter>,
    received: Bounded<FlowLabels, Counter>,
    retransmits: Bounded<FlowLabels, Counter>,
    round_trip: Bounded<FlowLabels, Histogram>,
    duration: Bounded<FlowLabels, Histogram>,
    denied: Bounded<DenialLabels, Counter>,
    audited: Bounded<DenialLabels, Counter>,
}

impl Connections {
    /// All of them, at zero.
    pub(super) fn new(families: &mut Families<'_>) -> Self {
        Self {
            opened: families.bounded("tcp_connections_opened", "TCP connections established"),
            closed: families.bounded("tcp_connections_closed", "TCP connections ended, by how"),
            failed: families.bounded("tcp_connections_failed", "TCP connections never established, by how"),
            sent: families.bounded("tcp_sent_bytes", "Bytes the reporting side sent"),
            received: families.bounded("tcp_received_bytes", "Bytes the reporting side received"),
            retransmits: families
                .bounded("tcp_retransmitted_segments", "Segments the reporting side sent again"),
            denied: families.bounded("denied", "Connections, datagrams and packets refused"),
            audited: families.bounded("audited", "What went on and an Audit policy would have refused"),
            round_trip: families.histogram(
                "tcp_round_trip",
                "Smoothed round-trip time of connections, at every sample and at their end",
                || Histogram::new(exponential_buckets(25e-6, 2.0, 14)),
            ),
            duration: families.histogram("tcp_connection_duration", "How long connections were open", || {
                Histogram::new(exponential_buckets(1e-3, 4.0, 12))
            }),
        }
    }

    pub(in super::super) fn opened(&self, labels: &FlowLabels) {
        self.opened.update(labels, increment);
    }

    pub(in super::super) fn closed(&self, labels: &FlowLabels, how: Reason, duration: Duration) {
        self.closed.update(&EndLabels::new(labels, how), increment);
        self.duration.update(labels, |histogram| histogram.observe(duration.as_secs_f64()));
    }

    pub(in super::super) fn failed(&self, labels: &FlowLabels, how: Reason) {
        self.failed.update(&EndLabels::new(labels, how), increment);
    }

    pub(in super::super) fn moved(&self, labels: &FlowLabels, moved: Progress) {
        for (family, grown) in [
            (&self.sent, moved.sent),
            (&self.received, moved.received),
            (&self.retransmits, moved.retransmits),
        ] {
            if grown > 0 {
                family.update(labels, |counter| {
                    counter.inc_by(grown);
                });
            }
        }
    }

    pub(in super::super) fn round_trip(&self, labels: &FlowLabels, microseconds: u32) {
        if microseconds > 0 {
            let seconds = f64::from(microseconds) / 1e6;
            self.round_trip.update(labels, |histogram| histogram.observe(seconds));
        }
    }

    pub(in super::super) fn denied(&self, labels: &DenialLabels, audited: bool, added: u64) {
        let family = if audited { &self.audited } else { &self.denied };
        family.update(labels, |counter| {
            counter.inc_by(added);
        });
    }
}

fn increment(counter: &Counter) {
    counter.inc();
}
