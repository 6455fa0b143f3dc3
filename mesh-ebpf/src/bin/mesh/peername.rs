//! cgroup `getpeername4`/`getpeername6`: the application sees the address it dialled.

use aya_ebpf::bindings::bpf_sock_addr;
use mesh_ebpf::abi::{FlowKey, Socket, TCP};

use crate::{
    kernel::{GO_ON, socket},
    maps::FLOWS,
    sockaddr::{Family, SockAddr},
};

/// The hook, which may only return 1.
#[inline(always)]
pub fn run(ctx: *mut bpf_sock_addr, family: Family) -> i32 {
    let addr = SockAddr::new(ctx, family);
    let peer = addr.address();
    let port = addr.port();
    // SAFETY: the context's own socket.
    if let Some(socket) = unsafe { socket(addr.sk()) } {
        // What an earlier connect left is not this peer's.
        if socket.flags & (Socket::TRANSLATED | Socket::ACCEPTED) == Socket::TRANSLATED
            && socket.destination_port == port
            && socket.destination.is(&peer)
        {
            addr.set(&socket.dialled, socket.dialled_port);
        }
        return GO_ON;
    }
    // An MPTCP socket: the record is on its subflow, the tuple is the same (KERNEL 7).
    let (local, local_port) = addr.local();
    let tuple = FlowKey {
        source: local,
        destination: peer,
        source_port: local_port,
        destination_port: port,
        protocol: TCP,
        reserved: [0; 3],
    };
    // SAFETY: words are read one by one, of an entry as old as the connection.
    if let Some(flow) = unsafe { FLOWS.get(&tuple) }
        && (flow.dialled_port != port || !flow.dialled.is(&peer))
    {
        let dialled = flow.dialled;
        addr.set(&dialled, flow.dialled_port);
    }
    GO_ON
}
