//! tcx, host side of a local pod's interface, packets to the pod: protocols other than TCP and UDP
//! under an ingress policy. Attached only to pods that have one, because it sees every packet.

use core::ptr::read_volatile;

use aya_ebpf::{bindings::TC_ACT_SHOT, programs::TcContext};
use mesh_ebpf::{
    abi::{TCP, UDP},
    policy::{Direction, SetId},
};

use crate::{
    frame::{self, Kind},
    maps::IFACES,
    report::Subject,
    verdict,
    workload::claimed,
};

const NEXT: i32 = -1;
const DROP: i32 = TC_ACT_SHOT;

/// The hook. No sender of these protocols is proven.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    // SAFETY: the context's packet; a plain word.
    let interface = unsafe { read_volatile(&raw const (*ctx.skb.skb).ifindex) };
    // SAFETY: entries are replaced whole and read by word.
    let Some(pod) = (unsafe { IFACES.get(&interface) }) else {
        return NEXT;
    };
    if pod.ingress == SetId::EMPTY {
        return NEXT;
    }
    let mut subject = Subject::unknown(Direction::Ingress);
    subject.of(pod);
    let kind = frame::read(ctx, &mut subject.tuple);
    let protocol = subject.tuple.protocol;
    let judged = match kind {
        Kind::OtherProtocol => true,
        // Later fragments of a protocol that is not judged by its ports.
        Kind::Fragment => protocol != TCP && protocol != UDP,
        _ => false,
    };
    if !judged || frame::is_icmp(protocol) {
        return NEXT;
    }
    subject.dialled = subject.tuple.destination;
    let peer = claimed(&subject.tuple.source);
    subject.peer_group = peer.group();
    if verdict::allows_protocol(pod.ingress, peer, &subject.tuple.source, &subject) { NEXT } else { DROP }
}
