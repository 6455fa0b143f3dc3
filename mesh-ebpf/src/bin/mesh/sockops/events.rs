//! Tells user space how a connection opens and ends.

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::bpf_sock_ops,
    helpers::{bpf_get_socket_cookie, bpf_getsockopt},
};
use mesh_ebpf::{
    abi::{EventKind, Reason, Socket},
    ended::{self, state},
    policy::Direction,
};

use super::tuple;
use crate::{kernel::now, report};

const IPPROTO_TCP: i32 = 6;
const TCP_SYNCNT: i32 = 7;

/// Tells that the connection opened.
#[inline(always)]
pub fn opened(ctx: *mut bpf_sock_ops, socket: &Socket) {
    tell(ctx, socket, EventKind::Opened as u64 | (Reason::None as u64) << 8);
}

/// Tells that the connection, which was in the state `old`, closed.
#[inline(always)]
pub fn closed(ctx: *mut bpf_sock_ops, socket: &Socket, old: u32) {
    // SAFETY: as in `sockops::run`.
    let (segments, retransmits) =
        unsafe { (read_volatile(&raw const (*ctx).segs_in), read_volatile(&raw const (*ctx).total_retrans)) };
    let retries = if old == state::SYN_SENT { syn_retries(ctx) } else { 0 };
    let reason = ended::reason(old, segments, retransmits, retries);
    tell(ctx, socket, EventKind::Closed as u64 | (reason as u64) << 8 | u64::from(old) << 32);
}

/// How often this socket would retransmit its SYN.
#[inline(always)]
fn syn_retries(ctx: *mut bpf_sock_ops) -> u32 {
    let mut value = 0u32;
    // SAFETY: the context, and a buffer of the length given.
    unsafe { bpf_getsockopt(ctx.cast(), IPPROTO_TCP, TCP_SYNCNT, (&raw mut value).cast(), 4) };
    value
}

/// `what` is kind, reason and, at the end, the state it left.
#[inline(never)]
fn tell(ctx: *mut bpf_sock_ops, socket: &Socket, what: u64) -> u64 {
    let mut own = tuple::NO_TUPLE;
    tuple::read(ctx, &mut own);
    let accepted = socket.flags & Socket::ACCEPTED != 0;
    if accepted {
        own = own.reversed();
    }
    if socket.flags & Socket::TUNNELLED != 0 {
        own.destination = socket.destination;
        own.destination_port = socket.destination_port;
    }
    let at = now();
    // SAFETY: the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
    let Some(mut entry) = report::reserve() else {
        return 0;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved just now, of the right size and alignment; every field is written, each in
    // place. The context as in `sockops::run`; `srtt_us` is in eighths of a microsecond.
    unsafe {
        (*event).at = at;
        (*event).kind = what as u8;
        (*event).origin = socket.origin;
        (*event).reason = (what >> 8) as u16;
        (*event).direction = if accepted { Direction::Ingress as u8 } else { Direction::Egress as u8 };
        (*event).reserved = 0;
        (*event).rule = socket.rule;
        (*event).set = socket.set;
        (*event).uid = socket.uid;
        (*event).group = socket.group;
        (*event).peer_group = socket.peer_group;
        (*event).tuple = own;
        (*event).dialled = socket.dialled;
        (*event).dialled_port = socket.dialled_port;
        (*event).reserved2 = [0; 6];
        (*event).cookie = cookie;
        (*event).duration = at.saturating_sub(socket.opened_at);
        let (sent, received) = ended::payload(
            (what >> 32) as u32,
            !accepted,
            read_volatile(&raw const (*ctx).bytes_acked),
            read_volatile(&raw const (*ctx).bytes_received),
        );
        (*event).bytes_sent = sent;
        (*event).bytes_received = received;
        (*event).rtt_microseconds = read_volatile(&raw const (*ctx).srtt_us) >> 3;
        (*event).retransmits = read_volatile(&raw const (*ctx).total_retrans);
        (*event).peer_uid = socket.peer_uid;
    }
    report::submit(entry);
    0
}
