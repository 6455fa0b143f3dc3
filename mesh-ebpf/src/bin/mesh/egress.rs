//! The egress decision that `connect` and `sendmsg` share: policy, then transport.

use mesh_ebpf::{
    abi::{Backend, Counter, Pod, Reason, Settings, TCP, Workload},
    egress::{Destination, Source, Transport, transport},
    policy::{Peer, rule},
};

use crate::{
    kernel::{EHOSTUNREACH, ENETUNREACH, EPERM, GO_ON, count, fail},
    report::{self, Subject},
    verdict,
    workload::workload,
};

/// What an admitted connection or datagram is to be.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Admission {
    /// The rule that admitted it.
    pub rule: u16,
    /// An Audit policy would have denied it.
    pub audited: bool,
    /// It goes through the tunnel.
    pub tunnelled: bool,
    /// The agent routes or judges its requests.
    pub engine: bool,
    /// What discovery says of the Service's endpoint that was picked ([`mesh_ebpf::abi::Backend`]), 0
    /// when its address was dialled.
    pub endpoint: u16,
}

impl Admission {
    /// Of what no policy is asked: what a pod sends to itself.
    pub const UNASKED: Self =
        Self { rule: rule::DEFAULT, audited: false, tunnelled: false, engine: false, endpoint: 0 };
}

/// A pod that discovery does not know (SEMANTICS 1.1).
#[inline(always)]
pub fn unknown(settings: &Settings) -> i32 {
    if settings.flags & Settings::UNKNOWN_CLOSED != 0 {
        count(Counter::PendingDropped);
        return fail(ENETUNREACH);
    }
    count(Counter::UnknownPassed);
    GO_ON
}

/// Asks the policy and chooses the transport; 0 to go on, else the errno.
#[inline(never)]
pub fn judge(subject: &mut Subject, pod: &Pod, settings: &Settings, admission: &mut Admission) -> i32 {
    let mut destination = Destination { flags: 0, known: false, endpoint: admission.endpoint };
    if let Some(workload) = workload(&subject.tuple.destination) {
        subject.peer_group = workload.group;
        destination.flags = workload.flags;
        destination.known = true;
    }
    let peer = Peer::Proven(subject.peer_group);
    let to = &subject.tuple;
    let verdict = verdict::ask(pod.egress, peer, &to.destination, to.protocol, to.destination_port);
    admission.rule = verdict.rule;
    if verdict.deferred && subject.tuple.protocol == TCP {
        if destination.endpoint & Backend::ENROLLED != 0 && destination.flags & Workload::ENROLLED == 0 {
            report::denied(subject, Reason::PeerUnknown, pod.egress, verdict.rule);
            return EHOSTUNREACH;
        }
        // relay asks the policy for each request, and chooses the transport then.
        admission.engine = true;
        return 0;
    }
    if !verdict.allowed {
        report::denied_by(subject, pod.egress, &verdict);
        return EPERM;
    }
    let source = Source {
        local_proof: settings.flags & Settings::LOCAL_PROOF != 0,
        encrypt_always: pod.flags & Pod::ENCRYPT_ALWAYS != 0,
        knows_all: settings.flags & Settings::PEERS_INCOMPLETE == 0,
        tcp: subject.tuple.protocol == TCP,
    };
    match transport(source, destination, verdict.mtls) {
        Transport::Direct | Transport::Plaintext => {}
        Transport::Tunnel => admission.tunnelled = true,
        Transport::Refused(reason) => {
            report::denied(subject, reason, pod.egress, verdict.rule);
            return if reason as u16 == Reason::EgressMtlsRequired as u16 { EPERM } else { EHOSTUNREACH };
        }
    }
    if verdict.audit_denies {
        admission.audited = true;
        report::audited(subject, pod.egress, &verdict);
    }
    0
}
