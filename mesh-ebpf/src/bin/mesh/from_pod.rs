//! tcx, host side of a local pod's interface, packets from the pod.
//!
//! Drops what bears another's address, which is what makes a published tuple a proof; of a wired
//! pod also SYNs and datagrams that no hooked socket published, where the hook would have had a
//! say. Everything else goes on to the next program.

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT},
    helpers::bpf_sk_fullsock,
    programs::TcContext,
};
use mesh_ebpf::{
    abi::{Class, Counter, Origin, Pod, Reason, Settings, UDP, Workload},
    address::Address,
    ended::state,
    packet::{Escape, may_escape, source_is_valid},
    policy::{Direction, Peer, SetId},
};

use crate::{
    datagram::{answers, publish},
    frame::{self, Kind},
    kernel::{add, count, settings, socket},
    maps::{DATAGRAMS, FLOWS, IFACES},
    report::{self, Subject},
    service::is_frontend,
    verdict,
    workload::workload,
};

/// `TCX_NEXT`: the next program, or the stack.
const NEXT: i32 = -1;
const DROP: i32 = TC_ACT_SHOT;

/// The hook.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    count(Counter::PacketsChecked);
    // SAFETY: the context's packet; a plain word.
    let interface = unsafe { read_volatile(&raw const (*ctx.skb.skb).ifindex) };
    // SAFETY: entries are replaced whole and read by word.
    let Some(pod) = (unsafe { IFACES.get(&interface) }) else {
        // User space writes the entry before it attaches the program.
        return DROP;
    };
    let mut subject = Subject::unknown(Direction::Egress);
    subject.of(pod);
    let kind = frame::read(ctx, &mut subject.tuple);
    subject.dialled = subject.tuple.destination;
    subject.dialled_port = subject.tuple.destination_port;
    match kind {
        Kind::NotIp => return NEXT,
        Kind::Malformed => return refuse(&subject, Reason::Malformed),
        Kind::Arp | Kind::Neighbour => {
            let probing = subject.tuple.source.is_unspecified();
            if !probing && !valid(pod, &subject.tuple.source) {
                return refuse(&subject, Reason::NeighbourSpoofed);
            }
            return NEXT;
        }
        _ => {}
    }
    if !valid(pod, &subject.tuple.source) {
        return refuse(&subject, Reason::SourceSpoofed);
    }
    match pod.class() {
        Class::Wired => {}
        Class::Pending => {
            count(Counter::PendingDropped);
            return DROP;
        }
        _ => return NEXT,
    }
    match kind {
        Kind::Syn => syn(&subject, pod),
        Kind::Datagram => datagram(ctx, &mut subject, pod),
        Kind::OtherProtocol => other(&mut subject, pod),
        // The first fragment was judged; without it the rest never make a datagram.
        _ => NEXT,
    }
}

#[inline(always)]
fn valid(pod: &Pod, source: &Address) -> bool {
    if pod.owns(source) {
        return true;
    }
    let claimed = workload(source).is_some();
    source_is_valid(pod, source, claimed)
}

#[inline(always)]
fn refuse(subject: &Subject, reason: Reason) -> i32 {
    report::denied(subject, reason, SetId::EMPTY, 0);
    DROP
}

#[inline(always)]
fn syn(subject: &Subject, pod: &Pod) -> i32 {
    // SAFETY: words of the entry are read one by one.
    if let Some(flow) = unsafe { FLOWS.get(&subject.tuple) }
        && (flow.uid == pod.uid || flow.origin == Origin::Agent as u8 && flow.netns == pod.netns)
    {
        return NEXT;
    }
    escape(subject, pod)
}

/// A SYN or datagram that nobody published.
#[inline(always)]
fn escape(subject: &Subject, pod: &Pod) -> i32 {
    let to = &subject.tuple;
    let towards = Escape {
        egress_policy: pod.egress != SetId::EMPTY,
        enrolled: match workload(&to.destination) {
            Some(workload) => workload.flags & Workload::ENROLLED != 0,
            // It may be one that found no room among those that are known.
            None => settings().is_none_or(|settings| settings.flags & Settings::PEERS_INCOMPLETE != 0),
        },
        service: is_frontend(&to.destination, to.destination_port, to.protocol),
    };
    if may_escape(towards) {
        return NEXT;
    }
    refuse(subject, Reason::NotPublished)
}

#[inline(always)]
fn datagram(ctx: &TcContext, subject: &mut Subject, pod: &Pod) -> i32 {
    if let Some(flow) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: a value of the map, readable until the program ends; the counts are only ever
        // changed atomically.
        let flow = unsafe { &*flow };
        if flow.origin == Origin::Pod as u8 && flow.uid == pod.uid {
            add(&flow.packets, 1);
            add(&flow.bytes, u64::from(ctx.len()));
            return NEXT;
        }
    }
    if answers(&subject.tuple) {
        return NEXT;
    }
    // The first datagram of a connected socket, whose port the connect hook could not know.
    match connected_to(ctx, subject, pod) {
        Some(deciding) => {
            subject.origin = Origin::Pod as u8;
            if publish(subject, pod, u32::from(deciding)) != 0 {
                return refuse(subject, Reason::FlowQuota);
            }
            NEXT
        }
        None => escape(subject, pod),
    }
}

/// The rule that let the packet's own socket connect to where the packet goes; its dialled address
/// goes into `subject`.
#[inline(always)]
fn connected_to(ctx: &TcContext, subject: &mut Subject, pod: &Pod) -> Option<u16> {
    // The sending socket is still on the packet on the host side of the veth (since Linux 4.19,
    // "skbuff: preserve sock reference when scrubbing the skb").
    // SAFETY: the verifier has each pointer checked for null before its use; `state` is a word of
    // a full socket.
    let socket = unsafe {
        let skb: *const __sk_buff = ctx.skb.skb;
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() || read_volatile(&raw const (*sk).state) != state::ESTABLISHED {
            return None;
        }
        socket(sk)?
    };
    if socket.protocol != UDP
        || socket.netns != pod.netns
        || !pod.owns(&subject.tuple.source)
        || socket.destination_port != subject.tuple.destination_port
        || !socket.destination.is(&subject.tuple.destination)
    {
        return None;
    }
    subject.dialled = socket.dialled;
    subject.dialled_port = socket.dialled_port;
    subject.peer_group = socket.peer_group;
    Some(socket.rule)
}

/// A protocol that has no ports and whose sender no hook saw: asked of the policy by address.
#[inline(always)]
fn other(subject: &mut Subject, pod: &Pod) -> i32 {
    if pod.egress == SetId::EMPTY || frame::is_icmp(subject.tuple.protocol) {
        return NEXT;
    }
    if let Some(workload) = workload(&subject.tuple.destination) {
        subject.peer_group = workload.group;
    }
    let peer = Peer::Proven(subject.peer_group);
    if verdict::allows_protocol(pod.egress, peer, &subject.tuple.destination, subject) {
        return NEXT;
    }
    DROP
}
