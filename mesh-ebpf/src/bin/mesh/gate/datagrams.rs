//! Datagrams that look for their socket.

use mesh_ebpf::{
    abi::{Flow, FlowKey, Origin, Pod, Reason},
    policy::SetId,
};

use super::{DROP, PASS, judge, proof};
use crate::{
    kernel::now,
    maps::DATAGRAMS,
    report::{self, Subject, may_publish_datagram},
};

/// Decides about one.
#[inline(always)]
pub fn admit(subject: &mut Subject, pod: &Pod) -> u32 {
    if is_answer(&subject.tuple, pod) || is_to_itself(&subject.tuple, pod) {
        return PASS;
    }
    if let Some(flow) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: as in `gate::admit_connection`.
        let flow = unsafe { &mut *flow };
        if proof(flow) == Origin::Pod {
            if flow.uid == pod.uid {
                return PASS;
            }
            subject.proven_by(flow);
            if judge(subject, pod, Some(flow)) != PASS {
                return DROP;
            }
            flow.flags |= Flow::ADMITTED;
            return PASS;
        }
    }
    if judge(subject, pod, None) != PASS {
        return DROP;
    }
    if remember(subject, pod) != 0 {
        report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
        return DROP;
    }
    PASS
}

/// Whether the datagram answers one that the pod sent.
#[inline(never)]
fn is_answer(tuple: &FlowKey, pod: &Pod) -> bool {
    let asked = tuple.reversed();
    // SAFETY: words of the entry are read one by one.
    match unsafe { DATAGRAMS.get(&asked) } {
        Some(flow) => flow.origin == Origin::Pod as u8 && flow.uid == pod.uid,
        None => false,
    }
}

/// Whether the datagram goes from the pod to itself where it connected to itself, or back: the tuple
/// is published with port 0 for the one that was not chosen yet.
#[inline(never)]
fn is_to_itself(tuple: &FlowKey, pod: &Pod) -> bool {
    if !tuple.source.is(&tuple.destination) {
        return false;
    }
    let mut connected = *tuple;
    connected.source_port = 0;
    // SAFETY: words of the entry are read one by one.
    match unsafe { DATAGRAMS.get(&connected) } {
        Some(flow) => flow.origin == Origin::Pod as u8 && flow.uid == pod.uid,
        None => false,
    }
}

/// Remembers an admitted datagram of an unproven peer, so that its answer may leave.
#[inline(never)]
fn remember(subject: &Subject, pod: &Pod) -> u32 {
    let at = now();
    if let Some(known) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: as in `admit`.
        let known = unsafe { &mut *known };
        known.flags |= Flow::ADMITTED;
        known.seen_at = at;
        return 0;
    }
    if !may_publish_datagram(pod.slot, at) {
        return 1;
    }
    let flow = Flow {
        cookie: 0,
        netns: 0,
        group: 0,
        peer_group: 0,
        uid: 0,
        opened_at: at,
        seen_at: at,
        dialled: subject.dialled,
        dialled_port: subject.dialled_port,
        origin: Origin::Answer as u8,
        flags: Flow::ADMITTED,
        slot: 0,
        egress: SetId::EMPTY,
        ingress: pod.ingress,
        egress_rule: 0,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
        endpoint: subject.tuple.destination,
        endpoint_port: subject.tuple.destination_port,
        reserved2: [0; 6],
    };
    DATAGRAMS.insert(&subject.tuple, &flow, 0).map_or(1, |()| 0)
}
