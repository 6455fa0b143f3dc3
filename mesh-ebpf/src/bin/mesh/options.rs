//! cgroup `getsockopt` and `setsockopt` on the agent's own sockets.
//!
//! The part of the agent that speaks to the network has no capability and no map. It reads the
//! record of a connection that it accepted, and says whom it connects for, by two private options
//! of its sockets (KERNEL 11). The programs are attached to the agent's cgroup, which sockets
//! belong to from their making, so nothing in a pod can use them.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sockopt},
    helpers::bpf_set_retval,
};
use mesh_ebpf::{
    abi::{Behalf, FlowKey, FlowRecord, Origin, Socket, TCP, TrueClient, option},
    address::Address,
    ended::state,
    policy::SetId,
};

use crate::{
    kernel::{GO_ON, socket_or_new},
    maps::FLOWS,
};

const AF_INET: u32 = 2;
/// No entry: the connection has no record.
const ENOENT: i32 = 2;
/// Out of memory: the socket cannot have one.
const ENOMEM: i32 = 12;
/// The value is not of the option's form.
const EINVAL: i32 = 22;
/// Too late: the socket is connected.
const EISCONN: i32 = 106;

/// Tells the setter `optlen` that the kernel is not to see the option.
const HANDLED: i32 = -1;

/// The answer of the system call. The program returns [`GO_ON`] whatever it is.
#[inline(always)]
fn answer(errno: i32) -> i32 {
    // SAFETY: takes a number; both hooks may call it.
    unsafe { bpf_set_retval(-errno) };
    GO_ON
}

/// Whether it is our option `name`; every other is left to whom it belongs.
#[inline(always)]
fn is(ctx: *mut bpf_sockopt, name: i32) -> bool {
    // SAFETY: `ctx` is the program's context; its fields are read word by word.
    unsafe {
        read_volatile(&raw const (*ctx).level) == option::LEVEL
            && read_volatile(&raw const (*ctx).optname) == name
    }
}

/// The buffer of the option's value, if it has room for a `T`.
#[inline(always)]
fn value<T>(ctx: *mut bpf_sockopt) -> Option<*mut T> {
    // SAFETY: as in `is`.
    let (start, end) = unsafe {
        (
            read_volatile(&raw const (*ctx).__bindgen_anon_2.optval) as usize,
            read_volatile(&raw const (*ctx).__bindgen_anon_3.optval_end) as usize,
        )
    };
    if start + size_of::<T>() > end { None } else { Some(start as *mut T) }
}

/// The `getsockopt` hook.
#[inline(always)]
pub fn get(ctx: *mut bpf_sockopt) -> i32 {
    if !is(ctx, option::FLOW) {
        return GO_ON;
    }
    let mut client = FlowKey {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        protocol: TCP,
        reserved: [0; 3],
    };
    // SAFETY: as in `is`.
    read_peer_tuple(unsafe { read_volatile(&raw const (*ctx).__bindgen_anon_1.sk) }, &mut client);
    // SAFETY: words are read one by one, of an entry as old as the connection.
    let Some(flow) = (unsafe { FLOWS.get(&client) }) else {
        return answer(ENOENT);
    };
    let Some(record) = value::<FlowRecord>(ctx) else {
        return answer(EINVAL);
    };
    // SAFETY: the verifier saw the room checked; each field is written in place, because a record on
    // the stack would not fit beside the tuple.
    unsafe {
        (*record).dialled = flow.dialled;
        (*record).endpoint = flow.endpoint;
        (*record).cookie = flow.cookie;
        (*record).netns = flow.netns;
        (*record).group = flow.group;
        (*record).peer_group = flow.peer_group;
        (*record).uid = flow.uid;
        (*record).opened_at = flow.opened_at;
        (*record).set = flow.egress;
        (*record).dialled_port = flow.dialled_port;
        (*record).endpoint_port = flow.endpoint_port;
        (*record).rule = flow.egress_rule;
        (*record).origin = flow.origin;
        (*record).flags = flow.flags;
        write_volatile(&raw mut (*ctx).optlen, size_of::<FlowRecord>() as i32);
    }
    answer(0)
}

/// The tuple of the socket's connection from its peer's side.
#[inline(always)]
fn read_peer_tuple(sk: *mut bpf_sock, tuple: &mut FlowKey) {
    if sk.is_null() {
        return;
    }
    // SAFETY: not null; the verifier lets every field of a full socket be read, by word.
    unsafe {
        if read_volatile(&raw const (*sk).family) == AF_INET {
            read_v4(sk, tuple);
        } else {
            read_v6(sk, tuple);
        }
        tuple.source_port = u16::from_be(read_volatile(&raw const (*sk).dst_port));
        tuple.destination_port = read_volatile(&raw const (*sk).src_port) as u16;
    }
}

/// Each family is read in a function of its own, see `sockops`.
#[inline(never)]
fn read_v4(sk: *mut bpf_sock, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `read_peer_tuple`.
    unsafe {
        tuple.source = Address::from_v4_word(read_volatile(&raw const (*sk).dst_ip4));
        tuple.destination = Address::from_v4_word(read_volatile(&raw const (*sk).src_ip4));
    }
    0
}

#[inline(never)]
fn read_v6(sk: *mut bpf_sock, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `read_peer_tuple`.
    unsafe {
        tuple.source = Address::from_words([
            read_volatile(&raw const (*sk).dst_ip6[0]),
            read_volatile(&raw const (*sk).dst_ip6[1]),
            read_volatile(&raw const (*sk).dst_ip6[2]),
            read_volatile(&raw const (*sk).dst_ip6[3]),
        ]);
        tuple.destination = Address::from_words([
            read_volatile(&raw const (*sk).src_ip6[0]),
            read_volatile(&raw const (*sk).src_ip6[1]),
            read_volatile(&raw const (*sk).src_ip6[2]),
            read_volatile(&raw const (*sk).src_ip6[3]),
        ]);
    }
    0
}

/// The `setsockopt` hook.
#[inline(always)]
pub fn set(ctx: *mut bpf_sockopt) -> i32 {
    if is(ctx, option::CLIENT) {
        return match value::<TrueClient>(ctx) {
            // SAFETY: the verifier saw the room checked.
            Some(client) => unsafe { note(ctx, (*client).address, (*client).port, Socket::DELIVERY) },
            None => answer(EINVAL),
        };
    }
    if is(ctx, option::BEHALF) {
        return match value::<Behalf>(ctx) {
            // SAFETY: as above.
            Some(behalf) => unsafe { note(ctx, (*behalf).address, (*behalf).rule, Socket::BEHALF) },
            None => answer(EINVAL),
        };
    }
    GO_ON
}

/// Leaves on the socket what its connect is to be. `number` is the true client's port, or the rule
/// that admitted a connect on behalf of a pod.
#[inline(always)]
fn note(ctx: *mut bpf_sockopt, address: Address, number: u16, flag: u32) -> i32 {
    if address.is_unspecified() {
        return answer(EINVAL);
    }
    // SAFETY: as in `is`.
    let sk = unsafe { read_volatile(&raw const (*ctx).__bindgen_anon_1.sk) };
    // SAFETY: the context's socket, which is never null; the verifier lets its fields be read.
    if unsafe { read_volatile(&raw const (*sk).state) } != state::CLOSE {
        return answer(EISCONN);
    }
    // SAFETY: the context's own socket.
    let Some(socket) = (unsafe { socket_or_new(sk) }) else {
        return answer(ENOMEM);
    };
    socket.dialled = address;
    socket.dialled_port = number;
    socket.flags = flag;
    socket.origin = Origin::Agent as u8;
    socket.protocol = TCP;
    socket.slot = 0;
    socket.group = 0;
    socket.uid = 0;
    socket.set = SetId::EMPTY;
    socket.rule = number;
    // SAFETY: as in `is`.
    unsafe { write_volatile(&raw mut (*ctx).optlen, HANDLED) };
    GO_ON
}
