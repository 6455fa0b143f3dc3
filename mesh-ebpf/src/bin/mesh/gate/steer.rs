//! Hands connections to the agent's listeners in the pod, by reference: they have no port that
//! anybody could dial or squat on (SEMANTICS 7.2).

use aya_ebpf::{
    bindings::{BPF_SK_LOOKUP_F_REPLACE, bpf_sk_lookup},
    programs::SkLookupContext,
};
use mesh_ebpf::{
    abi::{Flow, ListenerKey, Pod, Reason, TCP},
    policy::{Direction, SetId},
};

use super::{DROP, PASS};
use crate::{
    maps::{FLOWS, LISTENERS},
    report::{self, Subject},
    workload::workload,
};

/// What was dialled at an address that stands for an outbound listener, within a pod. Without a
/// published flow it is between the pod and itself.
#[inline(always)]
pub fn outbound(ctx: *mut bpf_sk_lookup, subject: &mut Subject) -> u32 {
    if subject.tuple.protocol != TCP {
        return PASS;
    }
    // SAFETY: words of the entry are read one by one, and it lives as long as the socket.
    let Some(flow) = (unsafe { FLOWS.get(&subject.tuple) }) else {
        return PASS;
    };
    if flow.flags & Flow::TUNNELLED == 0 || assign(ctx, flow.netns, ListenerKey::OUTBOUND) == 0 {
        return PASS;
    }
    subject.direction = Direction::Egress as u8;
    subject.origin = flow.origin;
    subject.slot = flow.slot;
    subject.uid = flow.uid;
    subject.group = flow.group;
    subject.dialled = flow.dialled;
    subject.dialled_port = flow.dialled_port;
    subject.tuple.destination = flow.endpoint;
    subject.tuple.destination_port = flow.endpoint_port;
    if let Some(workload) = workload(&subject.tuple.destination) {
        subject.peer_group = workload.group;
    }
    report::denied(subject, Reason::ListenerMissing, flow.egress, flow.egress_rule);
    DROP
}

/// A tunnel that comes in, or a connection whose requests the policy looks into: relay decides what of
/// it is allowed.
#[inline(always)]
pub fn inbound(ctx: *mut bpf_sk_lookup, subject: &mut Subject, pod: &Pod) -> u32 {
    if assign(ctx, pod.netns, ListenerKey::INBOUND) == 0 {
        return PASS;
    }
    if let Some(workload) = workload(&subject.tuple.source) {
        subject.peer_group = workload.group;
    }
    report::denied(subject, Reason::ListenerMissing, SetId::EMPTY, 0);
    DROP
}

/// 0 when the connection goes to the listener. It fails when there is none, and for a connection of
/// IPv6 when it is an IPv4 socket.
#[inline(never)]
fn assign(ctx: *mut bpf_sk_lookup, netns: u64, role: u32) -> i32 {
    let key = ListenerKey { netns, role, reserved: 0 };
    let flags = u64::from(BPF_SK_LOOKUP_F_REPLACE);
    match LISTENERS.redirect_sk_lookup(SkLookupContext::new(ctx), key, flags) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
