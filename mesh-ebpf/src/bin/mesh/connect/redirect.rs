//! Sends a connect to the pod's outbound listener instead, where the tunnel begins.
//!
//! The address it is sent to stands for the listener (see [`Address::redirect`]); [`crate::gate`]
//! knows it by the tuple that `sock_ops` publishes and hands it over by reference.

use aya_ebpf::{
    bindings::sockaddr,
    helpers::{bpf_bind, bpf_setsockopt},
};
use mesh_ebpf::{
    abi::{Counter, Pod, REDIRECT_PORT, Socket},
    address::Address,
};

use crate::{
    kernel::{count, random},
    sockaddr::{Family, SockAddr},
};

const SOL_SOCKET: i32 = 1;
const SO_BINDTODEVICE: i32 = 25;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `struct sockaddr_in`.
#[repr(C)]
struct V4Name {
    family: u16,
    port: u16,
    address: u32,
    zero: [u32; 2],
}

/// `struct sockaddr_in6`.
#[repr(C)]
struct V6Name {
    family: u16,
    port: u16,
    flow: u32,
    address: [u32; 4],
    scope: u32,
}

/// Redirects the connect of `socket`, whose record holds what was dialled. False when the redirect
/// is not of the hook's family.
#[inline(always)]
pub fn to_listener(addr: &SockAddr, socket: &mut Socket, pod: &Pod) -> bool {
    socket.redirect = Address::redirect(socket.dialled.is_v4(), pod.slot, random());
    socket.redirect_port = REDIRECT_PORT;
    socket.flags |= Socket::TUNNELLED | Socket::TRANSLATED;
    count(Counter::Tunnelled);
    unbind_from_device(addr);
    bind_to(addr, &pod.address_like(&socket.dialled));
    addr.set(&socket.redirect, REDIRECT_PORT)
}

/// A socket bound to `eth0` cannot reach what is behind `lo`, the redirect or its own pod: its SYN
/// would time out; unbound it can (KERNEL 1).
#[inline(always)]
pub fn unbind_from_device(addr: &SockAddr) {
    if addr.bound_interface() == 0 {
        return;
    }
    let mut none = 0u32;
    // SAFETY: the context, and a readable buffer of the length given; an empty name unbinds.
    unsafe { bpf_setsockopt(addr.as_ptr().cast(), SOL_SOCKET, SO_BINDTODEVICE, (&raw mut none).cast(), 4) };
}

/// Gives the socket the source address it would have had towards what was dialled, so that
/// `getsockname` shows it; the route to the redirect would pick a loopback address. What the
/// application bound itself stays: an address is seen here, and a port makes the helper fail with
/// EINVAL.
#[inline(always)]
fn bind_to(addr: &SockAddr, own: &Address) {
    let (bound, _) = addr.local();
    if !bound.is_unspecified() || own.is_unspecified() {
        return;
    }
    match addr.family() {
        Family::V4 => bind_v4(addr, own),
        Family::V6 => bind_v6(addr, own),
    };
}

#[inline(always)]
fn bind_v4(addr: &SockAddr, own: &Address) -> i64 {
    let mut name = V4Name { family: AF_INET, port: 0, address: own.words()[3], zero: [0; 2] };
    let length = size_of::<V4Name>() as i32;
    // SAFETY: the context, and a name of the length given. Port 0 stays unchosen until the connect
    // (`BIND_FORCE_ADDRESS_NO_PORT`).
    unsafe { bpf_bind(addr.as_ptr(), (&raw mut name).cast::<sockaddr>(), length) }
}

#[inline(always)]
fn bind_v6(addr: &SockAddr, own: &Address) -> i64 {
    let mut name = V6Name { family: AF_INET6, port: 0, flow: 0, address: own.words(), scope: 0 };
    let length = size_of::<V6Name>() as i32;
    // SAFETY: as in `bind_v4`.
    unsafe { bpf_bind(addr.as_ptr(), (&raw mut name).cast::<sockaddr>(), length) }
}
