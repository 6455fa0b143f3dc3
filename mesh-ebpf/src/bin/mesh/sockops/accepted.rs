//! A server's socket.
//!
//! Where the client's tuple is published here, the client's side tells the whole story; an unproven
//! client's is told from this side. What relay accepts and delivers, relay tells; the socket of a
//! delivery is only given its true client, for `getpeername`.

use core::ptr::read_volatile;

use aya_ebpf::bindings::bpf_sock_ops;
use mesh_ebpf::{
    abi::{Class, Counter, Flow, FlowKey, Origin, Pod, Socket, TCP, TUNNEL_PORT},
    policy::SetId,
};

use super::{events, follow, netns, tuple};
use crate::{
    kernel::{count, now, socket_or_new},
    maps::{FLOWS, LOCAL},
    verdict,
    workload::claimed,
};

/// A connection was accepted.
#[inline(always)]
pub fn run(ctx: *mut bpf_sock_ops) {
    let mut own = tuple::NO_TUPLE;
    tuple::read(ctx, &mut own);
    // SAFETY: entries are replaced whole and read by word.
    let Some(pod) = (unsafe { LOCAL.get(&own.source) }) else {
        return;
    };
    // In a namespace that the pod nested in its own any address may be in use.
    if pod.class() != Class::Wired || pod.netns != netns(ctx) {
        return;
    }
    let client = own.reversed();
    // SAFETY: as above.
    match unsafe { FLOWS.get(&client) } {
        Some(flow) if flow.origin == Origin::Agent as u8 => {
            if flow.flags & Flow::DELIVERY != 0 && flow.netns == pod.netns {
                delivered(ctx, &client, flow, pod);
            }
        }
        Some(_) => follow(ctx),
        None if client.destination_port == TUNNEL_PORT => {}
        None => unproven(ctx, &client, pod),
    }
}

/// The socket's record, to be written.
#[inline(always)]
fn record<'a>(ctx: *mut bpf_sock_ops) -> Option<&'a mut Socket> {
    // SAFETY: the context's own socket, null unless full.
    let socket = unsafe { socket_or_new(read_volatile(&raw const (*ctx).__bindgen_anon_2.sk)) };
    if socket.is_none() {
        count(Counter::StorageFailed);
    }
    socket
}

/// A connection of the agent on behalf of the client that its flow names.
#[inline(always)]
fn delivered(ctx: *mut bpf_sock_ops, client: &FlowKey, flow: &Flow, pod: &Pod) {
    count(Counter::Delivered);
    let Some(socket) = record(ctx) else {
        // `getpeername` finds the client in the flow, for as long as the agent holds the connection.
        return;
    };
    socket.dialled = flow.dialled;
    socket.dialled_port = flow.dialled_port;
    socket.destination = client.source;
    socket.destination_port = client.source_port;
    socket.slot = pod.slot;
    socket.group = pod.group;
    socket.netns = pod.netns;
    socket.uid = pod.uid;
    socket.set = SetId::EMPTY;
    socket.opened_at = now();
    socket.rule = 0;
    socket.origin = Origin::Agent as u8;
    socket.protocol = TCP;
    socket.flags = Socket::ACCEPTED | Socket::ESTABLISHED | Socket::DELIVERY;
    socket.peer_uid = 0;
    socket.peer_group = 0;
}

/// A connection of somebody the kernel did not see connect.
#[inline(always)]
fn unproven(ctx: *mut bpf_sock_ops, client: &FlowKey, pod: &Pod) {
    let peer = claimed(&client.source);
    let verdict = verdict::ask(pod.ingress, peer, &client.source, TCP, client.destination_port);
    if verdict.deferred {
        return;
    }
    follow(ctx);
    count(Counter::Opened);
    let Some(socket) = record(ctx) else {
        return;
    };
    socket.dialled = client.destination;
    socket.destination = client.destination;
    socket.dialled_port = client.destination_port;
    socket.destination_port = client.destination_port;
    socket.slot = pod.slot;
    socket.group = pod.group;
    socket.netns = pod.netns;
    socket.uid = pod.uid;
    socket.set = pod.ingress;
    socket.opened_at = now();
    socket.rule = verdict.rule;
    socket.origin = Origin::Unproven as u8;
    socket.protocol = TCP;
    socket.flags = Socket::ACCEPTED | Socket::ESTABLISHED;
    socket.peer_uid = 0;
    socket.peer_group = peer.group();
    events::opened(ctx, socket);
}
