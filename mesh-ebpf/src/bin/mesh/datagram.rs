//! cgroup `sendmsg4`/`sendmsg6` and `recvmsg4`/`recvmsg6`: UDP, datagram by datagram.
//!
//! An unconnected socket's datagrams to one Service all go to one endpoint; the tuple is published
//! before the datagram leaves, with what was dialled, so that answers get that label back. A
//! connected socket is decided once, by `connect`; its tuple is published where its first datagram
//! comes out ([`crate::from_pod`]), because its port is not chosen before that.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, bpf_sock_addr};
use mesh_ebpf::{
    abi::{Class, Flow, FlowKey, Origin, Pod, Reason, Settings, Socket, UDP},
    address::Address,
    policy::{Direction, SetId},
};

use crate::{
    egress::{Admission, judge, unknown},
    kernel::{EAGAIN, EHOSTUNREACH, ENETUNREACH, GO_ON, fail, now, settings, socket},
    maps::{DATAGRAMS, LOCAL},
    report::{self, Subject, may_publish_datagram},
    service,
    sockaddr::{Family, SockAddr},
    task::{self, Owner},
};

/// The `sendmsg` hooks.
#[inline(always)]
pub fn send(ctx: *mut bpf_sock_addr, family: Family) -> i32 {
    let addr = SockAddr::new(ctx, family);
    if addr.protocol() != UDP {
        return GO_ON;
    }
    let Some(settings) = settings() else {
        return fail(EAGAIN);
    };
    match task::current(settings) {
        Owner::Pod(pod) => {
            let class = pod.class();
            if class != Class::Wired && class != Class::Pending {
                return GO_ON;
            }
            let mut subject = Subject::unknown(Direction::Egress);
            describe(&addr, pod, &mut subject);
            if class == Class::Pending {
                report::denied(&subject, Reason::PodPending, SetId::EMPTY, 0);
                return fail(ENETUNREACH);
            }
            send_from_pod(&addr, &mut subject, pod, settings)
        }
        Owner::UnknownPod => unknown(settings),
        Owner::Agent | Owner::Host => GO_ON,
    }
}

/// What `pod` sends. A function of its own, for the stack; one for each family, so that LLVM does
/// not read the context through one computed pointer.
#[inline(always)]
fn describe(addr: &SockAddr, pod: &Pod, subject: &mut Subject) {
    match addr.family() {
        Family::V4 => describe_as::<4>(addr.as_ptr(), pod, subject),
        Family::V6 => describe_as::<6>(addr.as_ptr(), pod, subject),
    };
}

#[inline(never)]
fn describe_as<const VERSION: u8>(ctx: *mut bpf_sock_addr, pod: &Pod, subject: &mut Subject) -> u64 {
    let addr = &SockAddr::new(ctx, if VERSION == 4 { Family::V4 } else { Family::V6 });
    subject.of(pod);
    subject.origin = Origin::Pod as u8;
    subject.dialled = addr.address();
    subject.dialled_port = addr.port();
    subject.tuple.destination = subject.dialled;
    subject.tuple.destination_port = subject.dialled_port;
    subject.tuple.protocol = UDP;
    own_side(addr, pod, &mut subject.tuple);
    0
}

/// The socket's own address and port; the pod's address of the peer's family while it is bound to
/// none.
#[inline(always)]
fn own_side(addr: &SockAddr, pod: &Pod, tuple: &mut FlowKey) {
    let (bound, port) = addr.local();
    tuple.source_port = port;
    tuple.source = if bound.is_unspecified() || bound.is_v4() != tuple.destination.is_v4() {
        pod.address_like(&tuple.destination)
    } else {
        bound
    };
}

#[inline(always)]
fn send_from_pod(addr: &SockAddr, subject: &mut Subject, pod: &Pod, settings: &Settings) -> i32 {
    if subject.dialled.is_loopback() || subject.dialled.is_unspecified() || subject.dialled.is_redirect() {
        return GO_ON;
    }
    if addr.is_connected() {
        // A connected v4-mapped socket comes here with every send, already translated (KERNEL 6).
        // SAFETY: the context's own socket.
        if let Some(socket) = unsafe { socket(addr.sk()) }
            && socket.protocol == UDP
            && socket.destination_port == subject.dialled_port
            && socket.destination.is(&subject.dialled)
        {
            return GO_ON;
        }
    }
    if answers(&subject.tuple) {
        return GO_ON;
    }
    let mut admission = Admission::UNASKED;
    if !service::resolve(subject, pod.namespace, &mut admission) {
        return fail(EHOSTUNREACH);
    }
    if !pod.owns(&subject.tuple.destination) {
        let refused = judge(subject, pod, settings, &mut admission);
        if refused != 0 {
            return fail(refused);
        }
    }
    let refused = if addr.netns() == pod.netns && pod.owns(&subject.tuple.source) {
        publish(subject, pod, u32::from(admission.rule))
    } else {
        label(subject, pod)
    };
    if refused != 0 {
        report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
        return fail(EAGAIN);
    }
    if subject.is_translated() && !addr.set(&subject.tuple.destination, subject.tuple.destination_port) {
        report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
        return fail(EHOSTUNREACH);
    }
    GO_ON
}

/// Whether a datagram with this tuple answers one that its sender's gate admitted.
#[inline(never)]
pub fn answers(tuple: &FlowKey) -> bool {
    let asked = tuple.reversed();
    // SAFETY: one word of the entry is read.
    match unsafe { DATAGRAMS.get(&asked) } {
        Some(flow) => flow.flags & Flow::ADMITTED != 0,
        None => false,
    }
}

/// Publishes the tuple of `subject` as `pod`'s, whose own its source must be; not 0 when the pod
/// makes too many.
#[inline(never)]
pub fn publish(subject: &Subject, pod: &Pod, deciding: u32) -> i32 {
    let at = now();
    let mut flags = 0;
    if let Some(known) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: a value of the map, readable until the program ends; words are changed one by
        // one, and a racing writer of the same tuple is the same socket.
        let known = unsafe { &mut *known };
        if known.origin == Origin::Pod as u8 && known.uid == pod.uid {
            known.seen_at = at;
            known.dialled = subject.dialled;
            known.dialled_port = subject.dialled_port;
            known.egress = pod.egress;
            known.egress_rule = deciding as u16;
            return 0;
        }
        flags = known.flags;
    }
    if !may_publish_datagram(pod.slot, at) {
        return 1;
    }
    let what = Origin::Pod as u64 | u64::from(flags) << 8 | (deciding as u64) << 16;
    insert(subject, pod, what, BPF_ANY, at)
}

/// Remembers what was dialled under a tuple that is not the pod's own: its socket is in a namespace
/// that the pod nested in its own, or bound to an address that is not the pod's. It proves nothing,
/// takes no other's place, and only gives answers their label. Not 0 when the pod makes too many.
#[inline(never)]
fn label(subject: &Subject, pod: &Pod) -> i32 {
    let at = now();
    if let Some(known) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: as in `publish`.
        let known = unsafe { &mut *known };
        if known.origin == Origin::Unproven as u8 && known.uid == pod.uid {
            known.seen_at = at;
            known.dialled = subject.dialled;
            known.dialled_port = subject.dialled_port;
        }
        return 0;
    }
    // The tuples of other pods are theirs to publish.
    if !pod.owns(&subject.tuple.source) && LOCAL.get_ptr(&subject.tuple.source).is_some() {
        return 0;
    }
    if !may_publish_datagram(pod.slot, at) {
        return 1;
    }
    // Another's tuple may have come in between: then this one has no label.
    insert(subject, pod, Origin::Unproven as u64, BPF_NOEXIST, at);
    0
}

/// Puts the tuple of `subject` in the map; `what` is origin, flags and rule. Not 0 without room.
#[inline(always)]
fn insert(subject: &Subject, pod: &Pod, what: u64, how: u32, at: u64) -> i32 {
    let flow = Flow {
        cookie: 0,
        netns: pod.netns,
        group: pod.group,
        peer_group: subject.peer_group,
        uid: pod.uid,
        opened_at: at,
        seen_at: at,
        dialled: subject.dialled,
        dialled_port: subject.dialled_port,
        origin: what as u8,
        flags: (what >> 8) as u8,
        slot: pod.slot,
        egress: pod.egress,
        ingress: SetId::EMPTY,
        egress_rule: (what >> 16) as u16,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
        endpoint: subject.tuple.destination,
        endpoint_port: subject.tuple.destination_port,
        reserved2: [0; 6],
    };
    DATAGRAMS.insert(&subject.tuple, &flow, u64::from(how)).map_or(1, |()| 0)
}

/// The `recvmsg` hooks: an answer is labelled with what was dialled.
#[inline(always)]
pub fn receive(ctx: *mut bpf_sock_addr, family: Family) -> i32 {
    let addr = SockAddr::new(ctx, family);
    if addr.protocol() != UDP {
        return GO_ON;
    }
    let from = addr.address();
    let port = addr.port();
    if addr.is_connected() {
        // SAFETY: the context's own socket.
        if let Some(socket) = unsafe { socket(addr.sk()) }
            && socket.protocol == UDP
            && socket.flags & Socket::TRANSLATED != 0
            && socket.destination_port == port
            && socket.destination.is(&from)
        {
            addr.set(&socket.dialled, socket.dialled_port);
            return GO_ON;
        }
    }
    let Some(settings) = settings() else {
        return GO_ON;
    };
    let Owner::Pod(pod) = task::current(settings) else {
        return GO_ON;
    };
    if pod.class() != Class::Wired {
        return GO_ON;
    }
    let mut tuple = FlowKey {
        source: Address::UNSPECIFIED,
        destination: from,
        source_port: 0,
        destination_port: port,
        protocol: UDP,
        reserved: [0; 3],
    };
    own_side(&addr, pod, &mut tuple);
    // SAFETY: words are read one by one; a racing change is another send of the same socket.
    if let Some(flow) = unsafe { DATAGRAMS.get(&tuple) }
        && (flow.origin == Origin::Pod as u8 || flow.origin == Origin::Unproven as u8)
        && flow.uid == pod.uid
        && (flow.dialled_port != port || !flow.dialled.is(&from))
    {
        let dialled = flow.dialled;
        addr.set(&dialled, flow.dialled_port);
    }
    GO_ON
}
