//! Who a series is about. Labels are of workloads, not of pods, so that their number follows the
//! number of deployments.

use mesh_ebpf::abi::{Reason, TCP, UDP};
use mesh_ebpf::policy::Direction;
use prometheus_client::encoding::EncodeLabelSet;

use super::Context;
use super::bounded::Overflow;
use super::record::{Party, Proof, Record, reporter_name};
use crate::handover::{DenialCount, FlowSample};
use crate::relay::names::RuleName;

/// The value of a label of whom nothing is known.
const UNKNOWN: &str = "unknown";
/// The value of every label of what found no room.
pub(super) const OVERFLOW: &str = "overflow";

/// Both ends of a connection, and which of them reports it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndsLabels {
    reporter: String,
    source_namespace: String,
    source_workload: String,
    source_principal: String,
    destination_namespace: String,
    destination_workload: String,
    destination_principal: String,
}

/// Labels of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FlowLabels {
    #[prometheus(flatten)]
    ends: EndsLabels,
    destination_service: String,
    proof: String,
}

/// The same, with how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndLabels {
    #[prometheus(flatten)]
    flow: FlowLabels,
    how: String,
}

/// Labels of a denial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DenialLabels {
    #[prometheus(flatten)]
    ends: EndsLabels,
    protocol: String,
    policy: String,
    rule: String,
    reason: String,
}

impl EndsLabels {
    fn of(reporter: Direction, source: &Party, destination: &Party) -> Self {
        Self {
            reporter: reporter_name(reporter).to_owned(),
            source_namespace: or_unknown(&source.namespace),
            source_workload: or_unknown(&source.workload),
            source_principal: or_unknown(&source.identity),
            destination_namespace: or_unknown(&destination.namespace),
            destination_workload: or_unknown(&destination.workload),
            destination_principal: or_unknown(&destination.identity),
        }
    }

    /// Of a pod and the peer that is known by its group only. A destination is selected by
    /// address; a source has an identity only where it is proven, which a group does not tell.
    fn of_numbers(direction: Direction, uid: u64, peer_group: u64, context: Context<'_>) -> Self {
        let own = Party::by_hash(uid, 0, true, context);
        let peer = Party::by_hash(0, peer_group, direction == Direction::Egress, context);
        match direction {
            Direction::Egress => Self::of(direction, &own, &peer),
            Direction::Ingress => Self::of(direction, &peer, &own),
        }
    }
}

impl FlowLabels {
    /// The labels of an event.
    pub(super) fn of(record: &Record) -> Self {
        Self::new(record.reporter, [&record.source, &record.destination], &record.service, record.proof)
    }

    /// The labels of what is between a source and a destination, by the Service's port that was dialled.
    pub(super) fn new(
        reporter: Direction,
        [source, destination]: [&Party; 2],
        service: &str,
        proof: Proof,
    ) -> Self {
        let service = service.rsplit_once(':').map_or(UNKNOWN, |(service, _)| service);
        Self {
            ends: EndsLabels::of(reporter, source, destination),
            destination_service: service.to_owned(),
            proof: proof.name().to_owned(),
        }
    }

    /// The labels of a connection whose opening was not seen.
    pub(super) fn of_sample(sample: &FlowSample, context: Context<'_>) -> Self {
        // Only a wired pod's own connects are followed from the source's side: proven.
        let proof = match sample.direction {
            Direction::Egress => Proof::Kernel,
            Direction::Ingress => Proof::Unproven,
        };
        Self {
            ends: EndsLabels::of_numbers(sample.direction, sample.uid, sample.peer_group, context),
            destination_service: UNKNOWN.to_owned(),
            proof: proof.name().to_owned(),
        }
    }
}

impl EndLabels {
    /// Of a connection that ended so.
    pub(super) fn new(flow: &FlowLabels, how: Reason) -> Self {
        Self { flow: flow.clone(), how: how.name().to_owned() }
    }
}

impl DenialLabels {
    /// The labels of a row of exact denials.
    pub(super) fn of(row: &DenialCount, context: Context<'_>) -> Self {
        let ends = EndsLabels::of_numbers(row.direction, row.uid, row.peer_group, context);
        let rule = context.names.rule(row.set, row.rule, row.direction);
        Self::new(ends, row.protocol, rule, row.reason)
    }

    /// The labels of what was refused in the tunnel.
    pub(super) fn of_record(record: &Record) -> Self {
        let ends = EndsLabels::of(record.reporter, &record.source, &record.destination);
        Self::new(ends, record.protocol, record.rule.clone(), record.reason)
    }

    fn new(ends: EndsLabels, protocol: u8, rule: RuleName, reason: Reason) -> Self {
        Self {
            ends,
            protocol: protocol_name(protocol).to_owned(),
            policy: rule.policy,
            rule: rule.rule,
            reason: reason.name().to_owned(),
        }
    }
}

/// A protocol's name in metrics and answers of the admin socket.
pub(crate) const fn protocol_name(number: u8) -> &'static str {
    match number {
        TCP => "tcp",
        UDP => "udp",
        _ => "other",
    }
}

/// The value of a label, which is never empty.
pub(super) fn or_unknown(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() }
}

impl Overflow for EndsLabels {
    fn overflow() -> Self {
        let overflow = || OVERFLOW.to_owned();
        Self {
            reporter: overflow(),
            source_namespace: overflow(),
            source_workload: overflow(),
            source_principal: overflow(),
            destination_namespace: overflow(),
            destination_workload: overflow(),
            destination_principal: overflow(),
        }
    }
}

impl Overflow for FlowLabels {
    fn overflow() -> Self {
        let overflow = || OVERFLOW.to_owned();
        Self { ends: EndsLabels::overflow(), destination_service: overflow(), proof: overflow() }
    }
}

impl Overflow for EndLabels {
    fn overflow() -> Self {
        Self { flow: FlowLabels::overflow(), how: OVERFLOW.to_owned() }
    }
}

impl Overflow for DenialLabels {
    fn overflow() -> Self {
        let overflow = || OVERFLOW.to_owned();
        Self {
            ends: EndsLabels::overflow(),
            protocol: overflow(),
            policy: overflow(),
            rule: overflow(),
            reason: overflow(),
        }
    }
}
