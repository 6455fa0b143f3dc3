//! What happened to one connection, with names in the place of numbers, whether the kernel or a
//! worker of the tunnel told it: what a line of the access log says and what metrics are labelled
//! with.

use std::net::IpAddr;
use std::rc::Rc;

use mesh_ebpf::abi::{EventKind, Origin, Reason};
use mesh_ebpf::policy::Direction;

use super::reasons::is_failure;
use super::{Context, kind_of};
use crate::handover::FlowEvent;
use crate::relay::names::{PodName, RuleName};
use crate::relay::resource::Workload;

/// One thing that happened, resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Unix time, nanoseconds.
    pub unix_nanoseconds: u64,
    /// Which side reports: Egress is the source.
    pub reporter: Direction,
    /// What was decided, or that it ended.
    pub verdict: Verdict,
    /// Why it was denied, or how it ended.
    pub reason: Reason,
    /// What is known of the connecting side.
    pub proof: Proof,
    /// What carries it.
    pub transport: Transport,
    /// Policy and rule that decided.
    pub rule: RuleName,
    /// IP protocol.
    pub protocol: u8,
    /// The connecting side.
    pub source: Party,
    /// The accepting side.
    pub destination: Party,
    /// What the application dialled, where this side knows it.
    pub dialled: Option<(IpAddr, u16)>,
    /// The Service port at the dialled address, `<namespace>/<name>:<port>`; empty for none.
    pub service: String,
    /// Since it was opened, nanoseconds.
    pub duration_nanoseconds: u64,
    /// Bytes the reporting side sent.
    pub bytes_sent: u64,
    /// Bytes the reporting side received.
    pub bytes_received: u64,
    /// Smoothed round-trip time.
    pub rtt_microseconds: u32,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// The identity that the other end had to prove and has not; empty for none.
    pub expected: String,
    /// What failed, with names and causes; empty for nothing more than the reason.
    pub detail: String,
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A policy or the mesh refused it.
    Denied,
    /// It was let go and could not be made.
    Failed,
    /// It went on, and an Audit policy would have refused it.
    Audited,
    /// It was established.
    Opened,
    /// It was allowed and has ended.
    Ended,
}

/// What is known of the connecting side (SEMANTICS 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    /// The kernel saw a wired pod of this node connect.
    Kernel,
    /// A socket of the node itself.
    Node,
    /// Both ends have proven their names to each other, by mutual TLS.
    Mtls,
    /// Nothing.
    Unproven,
}

impl Proof {
    /// Its name in log and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Node => "node",
            Self::Mtls => "mtls",
            Self::Unproven => "unproven",
        }
    }

    fn of_origin(number: u8) -> Self {
        match Origin::from_number(number) {
            Origin::Pod => Self::Kernel,
            Origin::Host => Self::Node,
            Origin::Unproven | Origin::Answer | Origin::Agent => Self::Unproven,
        }
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The kernel alone, from socket to socket on this node; or nothing, since it was refused.
    Kernel,
    /// The kernel alone, in the clear, to where no name can be proven (SEMANTICS 2.6).
    Plaintext,
    /// The tunnel between two agents.
    Tunnel,
}

/// The side that reports, by its name in log and metrics.
pub(crate) const fn reporter_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "source",
        Direction::Ingress => "destination",
    }
}

/// One side of a connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Party {
    /// Its address and port.
    pub address: Option<(IpAddr, u16)>,
    /// The pod; empty when unknown.
    pub pod: String,
    /// Its namespace; empty when unknown.
    pub namespace: String,
    /// The name metrics know it by; empty when unknown.
    pub workload: String,
    /// SPIFFE identity; empty when unknown, or claimed by an address only.
    pub identity: String,
}

impl Party {
    fn of(pod: Option<&Rc<PodName>>, named: bool, proven: bool, context: Context<'_>) -> Self {
        let Some(pod) = pod else { return Self::default() };
        Self {
            address: None,
            pod: if named { pod.name.clone() } else { String::new() },
            namespace: pod.namespace.clone(),
            workload: pod.workload.clone(),
            identity: if proven && pod.enrolled { context.names.identity(pod) } else { String::new() },
        }
    }

    /// A pod known by the hash of its UID, or failing that by its group.
    pub(super) fn by_hash(uid: u64, group: u64, proven: bool, context: Context<'_>) -> Self {
        match context.names.pod(uid) {
            Some(pod) => Self::of(Some(pod), true, proven, context),
            None => Self::of(context.names.group(group), false, proven, context),
        }
    }

    /// Fills in the pod's name from its address, where exactly one pod has it.
    pub(super) fn find_pod(&mut self, address: IpAddr, context: Context<'_>) {
        if !self.pod.is_empty() {
            return;
        }
        let mut there = context.desired.workloads_at(address);
        if let (Some(workload), None) = (there.next(), there.next())
            && (self.namespace.is_empty() || self.namespace == workload.namespace)
        {
            self.pod.clone_from(&workload.name);
            self.namespace.clone_from(&workload.namespace);
            self.workload.clone_from(&workload.workload);
        }
    }
}

/// What carries what the kernel tells of. Only the connecting side knows.
fn transport(event: &FlowEvent, context: Context<'_>) -> Transport {
    let (destination, _) = event.destination;
    let here = |workload: &Workload| workload.enrolled && workload.local.is_some();
    let refused = kind_of(event.kind) == Some(EventKind::Denied);
    let proven = destination.is_loopback() || context.desired.workloads_at(destination).any(here);
    if event.direction == Direction::Ingress || refused || proven {
        Transport::Kernel
    } else {
        Transport::Plaintext
    }
}

impl Record {
    /// Resolves the numbers of an event.
    pub(crate) fn resolve(event: &FlowEvent, context: Context<'_>) -> Self {
        let proof = Proof::of_origin(event.origin);
        let own = Party::by_hash(event.uid, event.group, true, context);
        // A destination is selected by address; a source has an identity only where it is proven.
        let proven = event.direction == Direction::Egress || proof == Proof::Kernel;
        let mut peer = Party::by_hash(event.peer_uid, event.peer_group, proven, context);
        let (mut source, mut destination) = match event.direction {
            Direction::Egress => {
                peer.find_pod(event.destination.0, context);
                (own, peer)
            }
            Direction::Ingress => {
                peer.find_pod(event.source.0, context);
                (peer, own)
            }
        };
        source.address = Some(event.source);
        destination.address = Some(event.destination);
        let (dialled, port) = event.dialled;
        let service = context.desired.service_at(dialled, port, event.protocol);
        Self {
            unix_nanoseconds: event.unix_nanoseconds,
            reporter: event.direction,
            verdict: match kind_of(event.kind) {
                Some(EventKind::Denied) => Verdict::Denied,
                Some(EventKind::Audited) => Verdict::Audited,
                Some(EventKind::Opened) => Verdict::Opened,
                Some(EventKind::Closed) | None => Verdict::Ended,
            },
            reason: event.reason,
            proof,
            transport: transport(event, context),
            rule: context.names.rule(event.set, event.rule, event.direction),
            protocol: event.protocol,
            source,
            destination,
            dialled: Some(event.dialled),
            service: service.map(|service| service.name.clone()).unwrap_or_default(),
            duration_nanoseconds: event.duration,
            bytes_sent: event.bytes_sent,
            bytes_received: event.bytes_received,
            rtt_microseconds: event.rtt_microseconds,
            retransmits: event.retransmits,
            expected: String::new(),
            detail: String::new(),
        }
    }

    /// Whether somebody may ask why: a refusal, a failure, or an end by the mesh's own doing.
    pub(crate) fn is_trouble(&self) -> bool {
        match self.verdict {
            Verdict::Denied => true,
            // Who gives up has asked nothing of the mesh.
            Verdict::Failed => self.reason != Reason::Cancelled,
            Verdict::Audited | Verdict::Opened => false,
            Verdict::Ended => self.reason == Reason::PolicyChanged || is_failure(self.reason),
        }
    }

    /// Whether it ended without having been established, as far as the end tells.
    pub(crate) fn never_established(&self) -> bool {
        let reasons = [Reason::Refused, Reason::TimedOut, Reason::Unreachable, Reason::Cancelled];
        reasons.contains(&self.reason) && self.bytes_sent == 0 && self.bytes_received == 0
    }
}
