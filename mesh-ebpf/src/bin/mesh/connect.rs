//! cgroup `connect4`/`connect6`: a connection's life begins here.
//!
//! Own address or loopback → through. A Service's frontend → one of its endpoints. Then the egress
//! policy of the pod, then the transport. What is decided is left on the socket for `sock_ops` to
//! publish and for `getpeername`; a connect the mesh has no part in wipes what an earlier one left.

use aya_ebpf::{bindings::bpf_sock_addr, helpers::bpf_setsockopt};
use mesh_ebpf::{
    abi::{Class, Counter, Origin, Pod, Reason, Settings, Socket, TCP, UDP, capacity},
    address::Address,
    policy::{Direction, SetId},
};

use crate::{
    datagram::publish,
    egress::{judge, unknown},
    kernel::{
        EAGAIN, EHOSTUNREACH, ENETUNREACH, GO_ON, count, fail, forget_socket, now, settings, socket_or_new,
        use_of,
    },
    maps::LOCAL,
    report::{self, Subject},
    service::{self, Dialled, Endpoint},
    sockaddr::{Family, SockAddr},
    task::{self, Owner},
};

const SOL_SOCKET: i32 = 1;
const SO_BINDTODEVICE: i32 = 25;

/// The hook.
#[inline(always)]
pub fn run(ctx: *mut bpf_sock_addr, family: Family) -> i32 {
    let addr = SockAddr::new(ctx, family);
    let protocol = addr.protocol();
    if protocol != TCP && protocol != UDP {
        return GO_ON;
    }
    // No datagram can be sent to port 0: this is how a resolver asks for its own source address
    // (glibc sorts by it, RFC 6724), and refusing it would count a denial for every name looked up.
    if protocol == UDP && addr.port() == 0 {
        return leave_alone(&addr);
    }
    let Some(settings) = settings() else {
        return fail(EAGAIN);
    };
    match task::current(settings) {
        Owner::Pod(pod) => {
            let class = pod.class();
            if class != Class::Wired && class != Class::Pending {
                return leave_alone(&addr);
            }
            let mut subject = Subject::unknown(Direction::Egress);
            describe(&addr, protocol, pod, &mut subject);
            if class == Class::Pending {
                report::denied(&subject, Reason::PodPending, SetId::EMPTY, 0);
                return fail(ENETUNREACH);
            }
            from_pod(&addr, &mut subject, pod, settings)
        }
        Owner::UnknownPod => unknown(settings),
        Owner::Agent => leave_alone(&addr),
        Owner::Host => from_host(&addr, protocol, settings),
    }
}

#[inline(always)]
fn leave_alone(addr: &SockAddr) -> i32 {
    // SAFETY: the context's own socket.
    unsafe { forget_socket(addr.sk()) };
    GO_ON
}

/// What `pod` dials, its source not chosen yet.
#[inline(always)]
fn describe(addr: &SockAddr, protocol: u8, pod: &Pod, subject: &mut Subject) {
    subject.of(pod);
    subject.origin = Origin::Pod as u8;
    subject.dialled = addr.address();
    subject.dialled_port = addr.port();
    subject.tuple.source = pod.address_like(&subject.dialled);
    subject.tuple.destination = subject.dialled;
    subject.tuple.destination_port = subject.dialled_port;
    subject.tuple.protocol = protocol;
}

/// The node's own connect to a local pod: left on the socket so that a probe is recognised.
#[inline(always)]
fn from_host(addr: &SockAddr, protocol: u8, settings: &Settings) -> i32 {
    let destination = addr.address();
    let known = protocol == TCP && LOCAL.get_ptr(&destination).is_some();
    if !known || addr.netns() != settings.node_netns {
        return leave_alone(addr);
    }
    // SAFETY: the context's own socket.
    if let Some(socket) = unsafe { socket_or_new(addr.sk()) } {
        let port = addr.port();
        *socket = record(&destination, port, &destination, port, protocol);
        socket.origin = Origin::Host as u8;
        socket.netns = settings.node_netns;
    }
    // Without memory for it the probe is merely unproven.
    GO_ON
}

#[inline(always)]
fn record(dialled: &Address, dialled_port: u16, to: &Address, port: u16, protocol: u8) -> Socket {
    Socket {
        dialled: *dialled,
        destination: *to,
        dialled_port,
        destination_port: port,
        slot: 0,
        group: 0,
        netns: 0,
        uid: 0,
        set: SetId::EMPTY,
        opened_at: 0,
        rule: 0,
        origin: 0,
        protocol,
        flags: 0,
        peer_uid: 0,
        peer_group: 0,
    }
}

#[inline(always)]
fn from_pod(addr: &SockAddr, subject: &mut Subject, pod: &Pod, settings: &Settings) -> i32 {
    let protocol = subject.tuple.protocol;
    if subject.dialled.is_loopback() || subject.dialled.is_unspecified() {
        return leave_alone(addr);
    }
    let mut endpoint = Endpoint { address: subject.dialled, port: subject.dialled_port, reserved: 0 };
    match service::pick(&mut endpoint, protocol, &subject.tuple.source, 0) {
        Dialled::Direct => {}
        Dialled::Picked => {
            subject.tuple.destination = endpoint.address;
            subject.tuple.destination_port = endpoint.port;
        }
        Dialled::Empty => {
            report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
            return fail(EHOSTUNREACH);
        }
    }
    let mut rule = mesh_ebpf::policy::rule::DEFAULT;
    let mut audited = false;
    let to_itself = pod.owns(&endpoint.address);
    if to_itself {
        subject.peer_group = pod.group;
        // A connected UDP socket's own datagrams never pass the interface where its tuple would be
        // published; its port is not chosen yet, so 0 stands for it (see `gate`).
        if protocol == UDP && publish(subject, pod, u32::from(rule)) != 0 {
            report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
            return fail(EAGAIN);
        }
    } else {
        let refused = judge(subject, pod, settings, &mut rule, &mut audited);
        if refused != 0 {
            return fail(refused);
        }
    }
    if protocol == TCP
        && let Some(used) = use_of(pod.slot)
        && used.flows >= capacity::FLOWS_PER_POD
    {
        report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
        return fail(EAGAIN);
    }
    // SAFETY: the context's own socket.
    let Some(socket) = (unsafe { socket_or_new(addr.sk()) }) else {
        count(Counter::StorageFailed);
        return fail(EAGAIN);
    };
    socket.dialled = subject.dialled;
    socket.destination = endpoint.address;
    socket.dialled_port = subject.dialled_port;
    socket.destination_port = endpoint.port;
    socket.slot = pod.slot;
    socket.group = pod.group;
    socket.netns = addr.netns();
    socket.uid = pod.uid;
    socket.set = pod.egress;
    socket.opened_at = now();
    socket.rule = rule;
    socket.origin = Origin::Pod as u8;
    socket.protocol = protocol;
    socket.flags = 0;
    socket.peer_uid = 0;
    socket.peer_group = subject.peer_group;
    if audited {
        socket.flags |= Socket::AUDITED;
    }
    let translated = endpoint.port != subject.dialled_port || !endpoint.address.is(&subject.dialled);
    if translated {
        socket.flags |= Socket::TRANSLATED;
        if !addr.set(&endpoint.address, endpoint.port) {
            report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
            return fail(EHOSTUNREACH);
        }
        if to_itself && addr.bound_interface() != 0 {
            unbind_from_device(addr);
        }
    }
    GO_ON
}

/// A socket bound to `eth0` cannot reach its own pod, which is behind `lo`; unbound it can
/// (KERNEL 1). Only done when a Service's pick turned out to be the client itself.
#[inline(always)]
fn unbind_from_device(addr: &SockAddr) {
    let mut none = 0u32;
    // SAFETY: the context, and a readable buffer of the length given; an empty name unbinds.
    unsafe { bpf_setsockopt(addr.as_ptr().cast(), SOL_SOCKET, SO_BINDTODEVICE, (&raw mut none).cast(), 4) };
}
