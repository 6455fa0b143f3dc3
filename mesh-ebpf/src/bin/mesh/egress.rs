//! The egress decision that `connect` and `sendmsg` share: policy, then transport.

use mesh_ebpf::{
    abi::{Counter, Pod, Settings, TCP},
    address::Address,
    egress::{Destination, Source, Transport, transport},
    policy::{Peer, rule},
};

use crate::{
    kernel::{ENETUNREACH, EPERM, GO_ON, count, fail},
    maps::WORKLOADS,
    report::{self, Subject},
    verdict,
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
}

impl Admission {
    /// Of what no policy is asked: what a pod sends to itself.
    pub const UNASKED: Self = Self { rule: rule::DEFAULT, audited: false, tunnelled: false };
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
    let mut flags = 0;
    // SAFETY: entries are replaced whole and read by word.
    if let Some(workload) = unsafe { WORKLOADS.get(&subject.tuple.destination) } {
        subject.peer_group = workload.group;
        flags = workload.flags;
    }
    let peer = Peer::Proven(subject.peer_group);
    let to = &subject.tuple;
    let verdict = verdict::ask(pod.egress, peer, &to.destination, to.protocol, to.destination_port);
    admission.rule = verdict.rule;
    if !verdict.allowed {
        report::denied_by(subject, pod.egress, &verdict);
        return EPERM;
    }
    let source = Source {
        local_proof: settings.flags & Settings::LOCAL_PROOF != 0,
        encrypt_always: pod.flags & Pod::ENCRYPT_ALWAYS != 0,
        tcp: subject.tuple.protocol == TCP,
    };
    match transport(source, Destination { flags }, verdict.mtls) {
        Transport::Direct | Transport::Plaintext => {}
        Transport::Tunnel => admission.tunnelled = true,
        Transport::Refused(reason) => {
            report::denied(subject, reason, pod.egress, verdict.rule);
            return EPERM;
        }
    }
    if verdict.audit_denies {
        admission.audited = true;
        report::audited(subject, pod.egress, &verdict);
    }
    0
}

/// What `WORKLOADS` says of an address: its flags, 0 for nobody.
#[inline(always)]
pub fn workload_flags(address: &Address) -> u32 {
    // SAFETY: as in `judge`.
    match unsafe { WORKLOADS.get(address) } {
        Some(workload) => workload.flags,
        None => 0,
    }
}
