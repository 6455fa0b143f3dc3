//! `sock_ops`: publishes a connection before its SYN leaves, and follows it to its end.
//!
//! Called some seven times per connection, so the operation is looked at first. The published
//! tuple lives exactly as long as the connecting socket: a retransmitted SYN and a SYN-cookie ACK
//! look it up again (KERNEL 3).

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{
        BPF_NOEXIST, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
    },
    helpers::{bpf_get_socket_cookie, bpf_getsockopt, bpf_sock_ops_cb_flags_set},
};
use mesh_ebpf::{
    abi::{Class, Counter, EventKind, Flow, FlowKey, Origin, Reason, Socket, TCP, Workload},
    address::Address,
    ended::{self, state},
    policy::{Direction, Peer, SetId},
};

use crate::{
    kernel::{add, count, now, socket, socket_or_new, use_of},
    maps::{CLOSED, FLOWS, LOCAL, WORKLOADS},
    report, verdict,
};

const AF_INET: u32 = 2;
const IPPROTO_TCP: i32 = 6;
const TCP_SYNCNT: i32 = 7;
const EEXIST: i32 = -17;

/// The hook.
#[inline(always)]
pub fn run(ctx: *mut bpf_sock_ops) {
    // SAFETY: `ctx` is the program's context; its fields are read word by word.
    match unsafe { read_volatile(&raw const (*ctx).op) } {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(ctx),
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

/// A tuple to be filled.
const NO_TUPLE: FlowKey = FlowKey {
    source: Address::UNSPECIFIED,
    destination: Address::UNSPECIFIED,
    source_port: 0,
    destination_port: 0,
    protocol: 0,
    reserved: [0; 3],
};

/// The tuple from this socket's side. Each family is read in a function of its own: LLVM would
/// else read both through one computed pointer, which the verifier refuses for a context.
#[inline(always)]
fn read_tuple(ctx: *mut bpf_sock_ops, tuple: &mut FlowKey) {
    // SAFETY: as in `run`. `remote_port` holds the `__be16` in its upper half, so that `ntohl`
    // gives the port; `local_port` is in host order.
    unsafe {
        if read_volatile(&raw const (*ctx).family) == AF_INET {
            read_v4(ctx, tuple);
        } else {
            read_v6(ctx, tuple);
        }
        tuple.protocol = TCP;
        tuple.source_port = read_volatile(&raw const (*ctx).local_port) as u16;
        tuple.destination_port = u32::from_be(read_volatile(&raw const (*ctx).remote_port)) as u16;
    }
}

#[inline(never)]
fn read_v4(ctx: *mut bpf_sock_ops, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `run`.
    unsafe {
        tuple.source = Address::from_v4_word(read_volatile(&raw const (*ctx).local_ip4));
        tuple.destination = Address::from_v4_word(read_volatile(&raw const (*ctx).remote_ip4));
    }
    0
}

#[inline(never)]
fn read_v6(ctx: *mut bpf_sock_ops, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `run`.
    unsafe {
        tuple.source = Address::from_words([
            read_volatile(&raw const (*ctx).local_ip6[0]),
            read_volatile(&raw const (*ctx).local_ip6[1]),
            read_volatile(&raw const (*ctx).local_ip6[2]),
            read_volatile(&raw const (*ctx).local_ip6[3]),
        ]);
        tuple.destination = Address::from_words([
            read_volatile(&raw const (*ctx).remote_ip6[0]),
            read_volatile(&raw const (*ctx).remote_ip6[1]),
            read_volatile(&raw const (*ctx).remote_ip6[2]),
            read_volatile(&raw const (*ctx).remote_ip6[3]),
        ]);
    }
    0
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
    let mut tuple = NO_TUPLE;
    read_tuple(ctx, &mut tuple);
    if socket.origin == Origin::Pod as u8 {
        // Only its own address is the pod's to prove: a nested namespace may use any, and would
        // take another pod's tuples from it.
        // SAFETY: entries are replaced whole and read by word.
        match unsafe { LOCAL.get(&tuple.source) } {
            Some(pod) if pod.uid == socket.uid && pod.netns == socket.netns => {}
            _ => return,
        }
    }
    if publish(&tuple, socket, cookie(ctx)) == 0 {
        socket.flags |= Socket::PUBLISHED;
        if let Some(used) = use_of(socket.slot) {
            add(&used.flows, 1);
        }
        if socket.origin == Origin::Host as u8 {
            count(Counter::HostPublished);
        }
    }
}

/// 0 when the tuple is in the map as this socket's.
#[inline(never)]
fn publish(tuple: &FlowKey, socket: &Socket, cookie: u64) -> i32 {
    let at = now();
    let flow = Flow {
        cookie,
        netns: socket.netns,
        group: socket.group,
        uid: socket.uid,
        opened_at: at,
        seen_at: at,
        dialled: socket.dialled,
        dialled_port: socket.dialled_port,
        origin: socket.origin,
        flags: 0,
        slot: socket.slot,
        egress: socket.set,
        ingress: SetId::EMPTY,
        egress_rule: socket.rule,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
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
    if socket.origin != Origin::Pod as u8 || socket.flags & Socket::ACCEPTED != 0 {
        return;
    }
    socket.flags |= Socket::ESTABLISHED;
    count(Counter::Opened);
    if let Some(used) = use_of(socket.slot) {
        add(&used.opened, 1);
    }
    tell(ctx, socket, EventKind::Opened as u64 | (Reason::None as u64) << 8);
}

/// A server's socket. Where the client's tuple is published here, the client's side tells the
/// whole story; an unproven client's is told from this side.
#[inline(always)]
fn accepted(ctx: *mut bpf_sock_ops) {
    let mut own = NO_TUPLE;
    read_tuple(ctx, &mut own);
    // SAFETY: entries are replaced whole and read by word.
    let Some(pod) = (unsafe { LOCAL.get(&own.source) }) else {
        return;
    };
    if pod.class() != Class::Wired {
        return;
    }
    follow(ctx);
    let client = own.reversed();
    // SAFETY: as above.
    if unsafe { FLOWS.get(&client) }.is_some() {
        return;
    }
    count(Counter::Opened);
    // SAFETY: the context's own socket, null unless full.
    let Some(socket) = (unsafe { socket_or_new(read_volatile(&raw const (*ctx).__bindgen_anon_2.sk)) })
    else {
        count(Counter::StorageFailed);
        return;
    };
    // SAFETY: as above.
    let peer = match unsafe { WORKLOADS.get(&client.source) } {
        Some(workload) if workload.flags & Workload::HOST_NETWORK == 0 => Peer::Claimed(workload.group),
        _ => Peer::Unknown,
    };
    let verdict = verdict::ask(pod.ingress, peer, &client.source, TCP, client.destination_port);
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
    tell(ctx, socket, EventKind::Opened as u64 | (Reason::None as u64) << 8);
}

#[inline(always)]
fn closed(ctx: *mut bpf_sock_ops) {
    let Some(socket) = record(ctx) else {
        // The accepted side of a published connection.
        let mut own = NO_TUPLE;
        read_tuple(ctx, &mut own);
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
    if socket.origin == Origin::Host as u8 {
        return;
    }
    count(Counter::Closed);
    // SAFETY: as in `run`.
    let (segments, retransmits) =
        unsafe { (read_volatile(&raw const (*ctx).segs_in), read_volatile(&raw const (*ctx).total_retrans)) };
    let retries = if old == state::SYN_SENT { syn_retries(ctx) } else { 0 };
    let reason = ended::reason(old, segments, retransmits, retries);
    tell(ctx, socket, EventKind::Closed as u64 | (reason as u64) << 8 | u64::from(old) << 32);
}

#[inline(never)]
fn unpublish(ctx: *mut bpf_sock_ops, socket: &mut Socket) -> u64 {
    let mut tuple = NO_TUPLE;
    read_tuple(ctx, &mut tuple);
    let own = cookie(ctx);
    socket.flags &= !Socket::PUBLISHED;
    if let Some(used) = use_of(socket.slot) {
        add(&used.flows, u64::MAX);
    }
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

/// How often this socket would retransmit its SYN.
#[inline(always)]
fn syn_retries(ctx: *mut bpf_sock_ops) -> u32 {
    let mut value = 0u32;
    // SAFETY: the context, and a buffer of the length given.
    unsafe { bpf_getsockopt(ctx.cast(), IPPROTO_TCP, TCP_SYNCNT, (&raw mut value).cast(), 4) };
    value
}

/// Tells that the socket's connection opened or closed; `what` is kind, reason and, at
/// the end, the state it left.
#[inline(never)]
fn tell(ctx: *mut bpf_sock_ops, socket: &Socket, what: u64) -> u64 {
    let mut own = NO_TUPLE;
    read_tuple(ctx, &mut own);
    let accepted = socket.flags & Socket::ACCEPTED != 0;
    let at = now();
    let cookie = cookie(ctx);
    let Some(mut entry) = report::reserve() else {
        return 0;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved just now, of the right size and alignment; every field is written, each in
    // place. The context as in `run`; `srtt_us` is in eighths of a microsecond.
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
        if accepted {
            (*event).tuple = own.reversed();
        }
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
