//! `sock_ops`: publishes a connection before its SYN leaves, and follows it to its end.
//!
//! Called some seven times per connection, so the operation is looked at first. The published
//! tuple lives exactly as long as the connecting socket: a retransmitted SYN and a SYN-cookie ACK
//! look it up again (KERNEL 3).
//!
//! A connection that goes through the tunnel is published under its redirected tuple, with the
//! endpoint it is for; how it opens and ends is relay's to tell, unless it never gets there.

mod accepted;
mod events;
mod tuple;

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{
        BPF_NOEXIST, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
    },
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sock_ops_cb_flags_set},
};
use mesh_ebpf::{
    abi::{Counter, Flow, FlowKey, Origin, PodUse, Socket, TCP},
    ended::state,
    policy::SetId,
};

use crate::{
    kernel::{add, count, now, socket, use_of},
    maps::{CLOSED, FLOWS, LOCAL},
};

const EEXIST: i32 = -17;

/// The hook.
#[inline(always)]
pub fn run(ctx: *mut bpf_sock_ops) {
    // SAFETY: `ctx` is the program's context; its fields are read word by word.
    match unsafe { read_volatile(&raw const (*ctx).op) } {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted::run(ctx),
        BPF_SOCK_OPS_STATE_CB => {
            // SAFETY: as above; the arguments of this operation are the old and the new state.
            let new = unsafe { read_volatile(&raw const (*ctx).__bindgen_anon_1.args[1]) };
            if new == state::CLOSE {
                closed(ctx);
            }
        }
        _ => {}
    }
}

#[inline(always)]
fn record<'a>(ctx: *mut bpf_sock_ops) -> Option<&'a mut Socket> {
    // SAFETY: the context's own socket, null unless full.
    unsafe { socket(read_volatile(&raw const (*ctx).__bindgen_anon_2.sk)) }
}

/// Asks to be called when the state changes, keeping what other programs asked for.
#[inline(always)]
fn follow(ctx: *mut bpf_sock_ops) {
    // SAFETY: as in `run`.
    unsafe {
        let flags = read_volatile(&raw const (*ctx).bpf_sock_ops_cb_flags);
        bpf_sock_ops_cb_flags_set(ctx, (flags | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    }
}

#[inline(always)]
fn cookie(ctx: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the context.
    unsafe { bpf_get_socket_cookie(ctx.cast()) }
}

/// The SYN is about to leave.
#[inline(always)]
fn connecting(ctx: *mut bpf_sock_ops) {
    let Some(socket) = record(ctx) else {
        return;
    };
    if socket.flags & Socket::ACCEPTED != 0 || socket.protocol != TCP {
        return;
    }
    follow(ctx);
    let mut tuple = tuple::NO_TUPLE;
    tuple::read(ctx, &mut tuple);
    if socket.origin == Origin::Pod as u8 && !is_own(&tuple, socket) {
        return;
    }
    if publish(&tuple, socket, cookie(ctx)) == 0 {
        socket.flags |= Socket::PUBLISHED;
        count_flow(socket.slot, 1);
        if socket.origin == Origin::Host as u8 {
            count(Counter::HostPublished);
        }
    }
}

/// Adds to what the pod of `slot` holds, and to what all do.
#[inline(always)]
fn count_flow(slot: u32, amount: u64) {
    for slot in [slot, PodUse::ALL] {
        if let Some(used) = use_of(slot) {
            add(&used.flows, amount);
        }
    }
}

/// Cookie of the network namespace of the socket.
#[inline(always)]
fn netns(ctx: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the context.
    unsafe { bpf_get_netns_cookie(ctx.cast()) }
}

/// Whether the tuple is the pod's to publish. Only its own address is the pod's to prove: a nested
/// namespace may use any, and would take another pod's tuples from it. A redirected tuple is its
/// own by where it goes, whatever the application bound the socket to.
#[inline(always)]
fn is_own(tuple: &FlowKey, socket: &Socket) -> bool {
    // SAFETY: entries are replaced whole and read by word.
    match unsafe { LOCAL.get(&tuple.source) } {
        Some(pod) => pod.uid == socket.uid && pod.netns == socket.netns,
        None => {
            socket.flags & Socket::TUNNELLED != 0
                && (tuple.source.is_loopback() || tuple.source.is_redirect())
        }
    }
}

/// 0 when the tuple is in the map as this socket's.
#[inline(never)]
fn publish(tuple: &FlowKey, socket: &Socket, cookie: u64) -> i32 {
    let at = now();
    let mut flags = 0;
    if socket.flags & Socket::TUNNELLED != 0 {
        flags |= Flow::TUNNELLED;
    }
    if socket.flags & Socket::DELIVERY != 0 {
        flags |= Flow::DELIVERY;
    }
    if socket.flags & Socket::ENGINE != 0 {
        flags |= Flow::ENGINE;
    }
    let flow = Flow {
        cookie,
        netns: socket.netns,
        group: socket.group,
        peer_group: socket.peer_group,
        uid: socket.uid,
        opened_at: at,
        seen_at: at,
        dialled: socket.dialled,
        dialled_port: socket.dialled_port,
        origin: socket.origin,
        flags,
        slot: socket.slot,
        egress: socket.set,
        ingress: SetId::EMPTY,
        egress_rule: socket.rule,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
        endpoint: socket.destination,
        endpoint_port: socket.destination_port,
        reserved2: [0; 6],
    };
    match FLOWS.insert(tuple, &flow, u64::from(BPF_NOEXIST)) {
        Ok(()) => 0,
        Err(EEXIST) => {
            count(Counter::FlowsTaken);
            1
        }
        Err(_) => {
            count(Counter::FlowsFull);
            1
        }
    }
}

#[inline(always)]
fn connected(ctx: *mut bpf_sock_ops) {
    let Some(socket) = record(ctx) else {
        return;
    };
    let others = Socket::ACCEPTED | Socket::BEHALF;
    if socket.origin != Origin::Pod as u8 || socket.flags & others != 0 {
        return;
    }
    socket.flags |= Socket::ESTABLISHED;
    count(Counter::Opened);
    if let Some(used) = use_of(socket.slot) {
        add(&used.opened, 1);
    }
    if socket.flags & Socket::TUNNELLED == 0 {
        events::opened(ctx, socket);
    }
}

#[inline(always)]
fn closed(ctx: *mut bpf_sock_ops) {
    let Some(socket) = record(ctx) else {
        // The accepted side of a published connection. A namespace that a pod nested in its own may
        // use any address, and has no say in another's tuples.
        let mut own = tuple::NO_TUPLE;
        tuple::read(ctx, &mut own);
        // SAFETY: entries are replaced whole; one word is read.
        if !unsafe { LOCAL.get(&own.source) }.is_some_and(|pod| pod.netns == netns(ctx)) {
            return;
        }
        let client = own.reversed();
        if let Some(flow) = FLOWS.get_ptr_mut(&client) {
            // SAFETY: a value of the map, readable until the program ends; one byte is written.
            unsafe { (*flow).flags |= Flow::SERVER_CLOSED };
        }
        return;
    };
    // SAFETY: as in `run`.
    let old = unsafe { read_volatile(&raw const (*ctx).__bindgen_anon_1.args[0]) };
    if socket.flags & Socket::PUBLISHED != 0 {
        unpublish(ctx, socket);
    }
    let not_told = socket.origin == Origin::Host as u8 || socket.origin == Origin::Agent as u8;
    if not_told || socket.flags & Socket::BEHALF != 0 {
        return;
    }
    count(Counter::Closed);
    if socket.flags & Socket::TUNNELLED == 0 || old == state::SYN_SENT {
        events::closed(ctx, socket, old);
    }
}

#[inline(never)]
fn unpublish(ctx: *mut bpf_sock_ops, socket: &mut Socket) -> u64 {
    let mut tuple = tuple::NO_TUPLE;
    tuple::read(ctx, &mut tuple);
    let own = cookie(ctx);
    socket.flags &= !Socket::PUBLISHED;
    count_flow(socket.slot, u64::MAX);
    // SAFETY: one word of the entry is read.
    if let Some(flow) = unsafe { FLOWS.get(&tuple) }
        && flow.cookie == own
    {
        let at = now();
        // Only spares the log a false denial; without room for it there is one.
        let _ = CLOSED.insert(&tuple, &at, 0);
        let _ = FLOWS.remove(&tuple);
    }
    0
}
