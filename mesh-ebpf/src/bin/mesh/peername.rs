//! cgroup `getpeername4`/`getpeername6`: the application sees the address it dialled, and a server
//! behind the tunnel its true client.

use aya_ebpf::bindings::bpf_sock_addr;
use mesh_ebpf::abi::{Flow, FlowKey, Socket, TCP};

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
        let shown = if socket.flags & Socket::ACCEPTED != 0 { Socket::DELIVERY } else { Socket::TRANSLATED };
        if socket.flags & shown == 0 {
            return GO_ON;
        }
        // What an earlier connect left is not this peer's.
        let is_it = if socket.flags & Socket::TUNNELLED != 0 {
            socket.redirect_port == port && socket.redirect.is(&peer)
        } else {
            socket.destination_port == port && socket.destination.is(&peer)
        };
        if is_it {
            // An IPv4 socket cannot show an IPv6 client: it goes on seeing where it comes from.
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
    if let Some(flow) = unsafe { FLOWS.get(&tuple) } {
        if flow.dialled_port != port || !flow.dialled.is(&peer) {
            let dialled = flow.dialled;
            addr.set(&dialled, flow.dialled_port);
        }
        return GO_ON;
    }
    let client = tuple.reversed();
    // SAFETY: as above.
    if let Some(flow) = unsafe { FLOWS.get(&client) }
        && flow.flags & Flow::DELIVERY != 0
    {
        let dialled = flow.dialled;
        addr.set(&dialled, flow.dialled_port);
    }
    GO_ON
}
