//! cgroup `sendmsg4`/`sendmsg6` and `recvmsg4`/`recvmsg6`: UDP, datagram by datagram.
//!
//! An unconnected socket's datagrams to one Service all go to one endpoint; the tuple is published
//! before the datagram leaves, with what was dialled, so that answers get that label back. A
//! connected socket is decided once, by `connect`; its tuple is published where its first datagram
//! comes out ([`crate::from_pod`]), because its port is not chosen before that.

use aya_ebpf::bindings::bpf_sock_addr;
use mesh_ebpf::{
    abi::{Class, Flow, FlowKey, Origin, Pod, Reason, Settings, Socket, UDP},
    address::Address,
    policy::{Direction, SetId},
};

use crate::{
    egress::{Admission, judge, unknown},
    kernel::{EAGAIN, EHOSTUNREACH, ENETUNREACH, GO_ON, fail, now, settings, socket},
    maps::DATAGRAMS,
    report::{self, Subject, may_publish_datagram},
    service::{self, Dialled, Endpoint},
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
    let mut endpoint = Endpoint { address: subject.dialled, port: subject.dialled_port, reserved: 0 };
    match service::pick(&mut endpoint, UDP, &subject.tuple.source, subject.tuple.source_port) {
        Dialled::Direct => {}
        Dialled::Picked => {
            subject.tuple.destination = endpoint.address;
            subject.tuple.destination_port = endpoint.port;
        }
        Dialled::Empty => {
            report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
            return fail(EHOSTUNREACH);
        }
    }
    let mut admission = Admission::UNASKED;
    if !pod.owns(&endpoint.address) {
        let refused = judge(subject, pod, settings, &mut admission);
        if refused != 0 {
            return fail(refused);
        }
    }
    if publish(subject, pod, u32::from(admission.rule)) != 0 {
        report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
        return fail(EAGAIN);
    }
    let translated = endpoint.port != subject.dialled_port || !endpoint.address.is(&subject.dialled);
    if translated && !addr.set(&endpoint.address, endpoint.port) {
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

/// Publishes the tuple of `subject` as `pod`'s; not 0 when the pod makes too many.
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
    let flow = Flow {
        cookie: 0,
        netns: pod.netns,
        group: pod.group,
        uid: pod.uid,
        opened_at: at,
        seen_at: at,
        dialled: subject.dialled,
        dialled_port: subject.dialled_port,
        origin: Origin::Pod as u8,
        flags,
        slot: pod.slot,
        egress: pod.egress,
        ingress: SetId::EMPTY,
        egress_rule: deciding as u16,
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
        && flow.origin == Origin::Pod as u8
        && (flow.dialled_port != port || !flow.dialled.is(&from))
    {
        let dialled = flow.dialled;
        addr.set(&dialled, flow.dialled_port);
    }
    GO_ON
}
