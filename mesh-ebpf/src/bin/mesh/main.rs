//! The kernel programs. One module per hook; the rooms below them are shared.
//!
//! | hook | module | what it does |
//! |---|---|---|
//! | cgroup connect4/6 | [`connect`] | Service to endpoint, egress policy, transport |
//! | cgroup sendmsg4/6, recvmsg4/6 | [`datagram`] | the same for UDP, answers relabelled |
//! | cgroup getpeername4/6 | [`peername`] | the application sees what it dialled |
//! | cgroup getsockopt, setsockopt on the agent's sockets | [`options`] | a connection's record, a delivery's true client |
//! | `sock_ops` | [`sockops`] | publishes connections as proof; counts how they go and end |
//! | `sk_lookup` in a pod's namespace | [`gate`] | ingress policy |
//! | tcx, host side of a pod's interface | [`from_pod`], [`to_pod`] | source validation, escape guard, other protocols |
//! | cgroup skb | [`pending`] | nothing in or out of a pod that is not wired yet |
//!
//! [`egress`] is what `connect` and `sendmsg` decide alike; [`task`] tells whose process or packet it
//! is, [`workload`] whose address, [`service`] picks endpoints, [`verdict`] asks the compiled policy,
//! [`report`] counts and tells user space, [`maps`] and [`kernel`] are the ground.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "the attribute macros make outer functions without the documentation")]

mod connect;
mod datagram;
mod egress;
mod frame;
mod from_pod;
mod gate;
mod kernel;
mod maps;
mod options;
mod peername;
mod pending;
mod report;
mod service;
mod sockaddr;
mod sockops;
mod task;
mod to_pod;
mod verdict;
mod workload;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock_addr, cgroup_sockopt, classifier, sk_lookup, sock_ops},
    programs::{SkBuffContext, SkLookupContext, SockAddrContext, SockOpsContext, SockoptContext, TcContext},
};
use sockaddr::Family;

/// IPv4 connect.
#[cgroup_sock_addr(connect4)]
pub fn mesh_connect4(ctx: SockAddrContext) -> i32 {
    connect::run(ctx.sock_addr, Family::V4)
}

/// IPv6 and v4-mapped connect.
#[cgroup_sock_addr(connect6)]
pub fn mesh_connect6(ctx: SockAddrContext) -> i32 {
    connect::run(ctx.sock_addr, Family::V6)
}

/// IPv4 datagram out.
#[cgroup_sock_addr(sendmsg4)]
pub fn mesh_sendmsg4(ctx: SockAddrContext) -> i32 {
    datagram::send(ctx.sock_addr, Family::V4)
}

/// IPv6 and v4-mapped datagram out.
#[cgroup_sock_addr(sendmsg6)]
pub fn mesh_sendmsg6(ctx: SockAddrContext) -> i32 {
    datagram::send(ctx.sock_addr, Family::V6)
}

/// IPv4 datagram in.
#[cgroup_sock_addr(recvmsg4)]
pub fn mesh_recvmsg4(ctx: SockAddrContext) -> i32 {
    datagram::receive(ctx.sock_addr, Family::V4)
}

/// IPv6 and v4-mapped datagram in.
#[cgroup_sock_addr(recvmsg6)]
pub fn mesh_recvmsg6(ctx: SockAddrContext) -> i32 {
    datagram::receive(ctx.sock_addr, Family::V6)
}

/// The IPv4 peer of a socket.
#[cgroup_sock_addr(getpeername4)]
pub fn mesh_peername4(ctx: SockAddrContext) -> i32 {
    peername::run(ctx.sock_addr, Family::V4)
}

/// The IPv6 or v4-mapped peer of a socket.
#[cgroup_sock_addr(getpeername6)]
pub fn mesh_peername6(ctx: SockAddrContext) -> i32 {
    peername::run(ctx.sock_addr, Family::V6)
}

/// An option of the agent's socket, read.
#[cgroup_sockopt(getsockopt)]
pub fn mesh_getopt(ctx: SockoptContext) -> i32 {
    options::get(ctx.sockopt)
}

/// An option of the agent's socket, written.
#[cgroup_sockopt(setsockopt)]
pub fn mesh_setopt(ctx: SockoptContext) -> i32 {
    options::set(ctx.sockopt)
}

/// A TCP socket's progress.
#[sock_ops]
pub fn mesh_sockops(ctx: SockOpsContext) -> u32 {
    sockops::run(ctx.ops);
    1
}

/// A packet that looks for its socket.
#[sk_lookup]
pub fn mesh_gate(ctx: SkLookupContext) -> u32 {
    gate::run(ctx.lookup)
}

/// A packet out of a pod.
#[classifier]
pub fn mesh_from_pod(ctx: TcContext) -> i32 {
    from_pod::run(&ctx)
}

/// A packet to a pod.
#[classifier]
pub fn mesh_to_pod(ctx: TcContext) -> i32 {
    to_pod::run(&ctx)
}

/// A packet to a socket below the node's root.
#[cgroup_skb]
pub fn mesh_skb_in(ctx: SkBuffContext) -> i32 {
    pending::run(&ctx)
}

/// A packet of a socket below the node's root.
#[cgroup_skb]
pub fn mesh_skb_out(ctx: SkBuffContext) -> i32 {
    pending::run(&ctx)
}

/// Some helpers and programs' attach points are for GPL-compatible programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
