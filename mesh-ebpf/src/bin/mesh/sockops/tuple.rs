//! The tuple of a `sock_ops` context.

use core::ptr::read_volatile;

use aya_ebpf::bindings::bpf_sock_ops;
use mesh_ebpf::{
    abi::{FlowKey, TCP},
    address::Address,
};

const AF_INET: u32 = 2;

/// A tuple to be filled.
pub const NO_TUPLE: FlowKey = FlowKey {
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
pub fn read(ctx: *mut bpf_sock_ops, tuple: &mut FlowKey) {
    // SAFETY: as in `sockops::run`. `remote_port` holds the `__be16` in its upper half, so that `ntohl`
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
    // SAFETY: as in `sockops::run`.
    unsafe {
        tuple.source = Address::from_v4_word(read_volatile(&raw const (*ctx).local_ip4));
        tuple.destination = Address::from_v4_word(read_volatile(&raw const (*ctx).remote_ip4));
    }
    0
}

#[inline(never)]
fn read_v6(ctx: *mut bpf_sock_ops, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `sockops::run`.
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
