//! Who a series is about. Labels are of workloads, not of pods, so that their number follows the
//! number of deployments.

use mesh_ebpf::policy::Direction;
use prometheus_client::encoding::EncodeLabelSet;

use super::Context;
use super::bounded::Overflow;
use super::record::{Party, Proof, Record};
use crate::handover::{DenialCount, FlowSample};

/// The value of a label of whom nothing is known.
const UNKNOWN: &str = "unknown";
const OVERFLOW: &str = "overflow";

/// Labels of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FlowLabels {
    reporter: String,
    source_namespace: String,
    source_workload: String,
    source_principal: String,
    destination_namespace: String,
    destination_workload: String,
    destination_principal: String,
    destination_service: String,
    proof: String,
}

/// The same, with how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndLabels {
    #[prometheus(flatten)]
    pub flow: FlowLabels,
    pub how: String,
}

/// Labels of a denial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DenialLabels {
    reporter: String,
    source_namespace: String,
    source_workload: String,
    source_principal: String,
    destination_namespace: String,
    destination_workload: String,
    destination_principal: String,
    protocol: String,
    policy: String,
    rule: String,
    reason: String,
}

impl FlowLabels {
    /// The labels of an event.
    pub(super) fn of(record: &Record) -> Self {
        let service = match record.service.rsplit_once(':') {
            Some((service, _)) => service.to_owned(),
            None => UNKNOWN.to_owned(),
        };
        Self {
            reporter: reporter(record.reporter),
            source_namespace: or_unknown(&record.source.namespace),
            source_workload: or_unknown(&record.source.workload),
            source_principal: or_unknown(&record.source.identity),
            destination_namespace: or_unknown(&record.destination.namespace),
            destination_workload: or_unknown(&record.destination.workload),
            destination_principal: or_unknown(&record.destination.identity),
            destination_service: service,
            proof: record.proof.name().to_owned(),
        }
    }

    /// The labels of a connection whose opening was not seen.
    pub(super) fn of_sample(sample: &FlowSample, context: Context<'_>) -> Self {
        // Only a wired pod's own connects are followed from the source's side: proven.
        let proof = match sample.direction {
            Direction::Egress => Proof::Kernel,
            Direction::Ingress => Proof::Unproven,
        };
        let proven = sample.direction == Direction::Egress;
        let own = Party::by_hash(sample.uid, 0, true, context);
        let peer = Party::by_hash(0, sample.peer_group, proven, context);
        let (source, destination) = sides(sample.direction, own, peer);
        Self {
            reporter: reporter(sample.direction),
            source_namespace: or_unknown(&source.namespace),
            source_workload: or_unknown(&source.workload),
            source_principal: or_unknown(&source.identity),
            destination_namespace: or_unknown(&destination.namespace),
            destination_workload: or_unknown(&destination.workload),
            destination_principal: or_unknown(&destination.identity),
            destination_service: UNKNOWN.to_owned(),
            proof: proof.name().to_owned(),
        }
    }
}

impl DenialLabels {
    /// The labels of a row of exact denials.
    pub(super) fn of(row: &DenialCount, context: Context<'_>) -> Self {
        let own = Party::by_hash(row.uid, 0, true, context);
        let proven = row.direction == Direction::Egress;
        let peer = Party::by_hash(0, row.peer_group, proven, context);
        let (source, destination) = sides(row.direction, own, peer);
        let rule = context.names.rule(row.set, row.rule, row.direction);
        Self {
            reporter: reporter(row.direction),
            source_namespace: or_unknown(&source.namespace),
            source_workload: or_unknown(&source.workload),
            source_principal: or_unknown(&source.identity),
            destination_namespace: or_unknown(&destination.namespace),
            destination_workload: or_unknown(&destination.workload),
            destination_principal: or_unknown(&destination.identity),
            protocol: match row.protocol {
                mesh_ebpf::abi::TCP => "tcp".to_owned(),
                mesh_ebpf::abi::UDP => "udp".to_owned(),
                _ => "other".to_owned(),
            },
            policy: rule.policy,
            rule: rule.rule,
            reason: row.reason.name().to_owned(),
        }
    }
}

fn sides(direction: Direction, own: Party, peer: Party) -> (Party, Party) {
    match direction {
        Direction::Egress => (own, peer),
        Direction::Ingress => (peer, own),
    }
}

fn reporter(direction: Direction) -> String {
    match direction {
        Direction::Egress => "source".to_owned(),
        Direction::Ingress => "destination".to_owned(),
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() }
}

impl Overflow for FlowLabels {
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
            destination_service: overflow(),
            proof: overflow(),
        }
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
            reporter: overflow(),
            source_namespace: overflow(),
            source_workload: overflow(),
            source_principal: overflow(),
            destination_namespace: overflow(),
            destination_workload: overflow(),
            destination_principal: overflow(),
            protocol: overflow(),
            policy: overflow(),
            rule: overflow(),
            reason: overflow(),
        }
    }
}
