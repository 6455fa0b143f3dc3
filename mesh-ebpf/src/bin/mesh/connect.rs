//! cgroup `connect4`/`connect6`: a connection's life begins here.
//!
//! Own address or loopback → through. A Service's frontend → one of its endpoints. Then the egress
//! policy of the pod, then the transport. What is decided is left on the socket for `sock_ops` to
//! publish and for `getpeername`; a connect the mesh has no part in wipes what an earlier one left.

mod redirect;

use aya_ebpf::bindings::bpf_sock_addr;
use mesh_ebpf::{
    abi::{Class, Counter, Origin, Pod, PodUse, Reason, Settings, Socket, TCP, UDP},
    address::Address,
    policy::{Direction, SetId},
    quota::may_open,
};

use crate::{
    datagram::publish,
    egress::{Admission, judge, unknown},
    kernel::{
        EAGAIN, EHOSTUNREACH, ENETUNREACH, GO_ON, count, fail, forget_socket, now, settings, socket_or_new,
        use_of,
    },
    maps::LOCAL,
    report::{self, Subject},
    service,
    sockaddr::{Family, SockAddr},
    task::{self, Owner},
    workload::workload,
};

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
        Owner::Agent => from_agent(&addr, protocol, settings),
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
        socket.dialled = destination;
        socket.dialled_port = addr.port();
        of_the_node(socket, &destination, addr.port(), Origin::Host);
        socket.netns = settings.node_netns;
        socket.flags = 0;
    }
    // Without memory for it the probe is merely unproven.
    GO_ON
}

/// The agent's connect from within a pod's namespace: left on the socket so that its SYN may leave
/// the pod, reach the pod's application for the client that the agent named, or prove the pod that
/// it is made for ([`crate::options`]). In the node's namespace the agent is left alone.
#[inline(always)]
fn from_agent(addr: &SockAddr, protocol: u8, settings: &Settings) -> i32 {
    let netns = addr.netns();
    if protocol != TCP || netns == settings.node_netns {
        return leave_alone(addr);
    }
    // SAFETY: the context's own socket.
    let Some(socket) = (unsafe { socket_or_new(addr.sk()) }) else {
        count(Counter::StorageFailed);
        return fail(EAGAIN);
    };
    let destination = addr.address();
    if socket.flags & Socket::BEHALF != 0 {
        return on_behalf(addr, socket, netns);
    }
    if socket.flags & Socket::DELIVERY == 0 {
        socket.dialled = destination;
        socket.dialled_port = addr.port();
    }
    of_the_node(socket, &destination, addr.port(), Origin::Agent);
    socket.netns = netns;
    socket.flags &= Socket::DELIVERY;
    GO_ON
}

/// The agent's connect for the pod whose address it named and in whose namespace it is: as the
/// pod's own, but for what is told of it, which is relay's to tell.
#[inline(always)]
fn on_behalf(addr: &SockAddr, socket: &mut Socket, netns: u64) -> i32 {
    // SAFETY: entries are replaced whole and read by word.
    let Some(pod) = (unsafe { LOCAL.get(&socket.dialled) }) else {
        return fail(ENETUNREACH);
    };
    if pod.class() != Class::Wired || pod.netns != netns {
        return fail(ENETUNREACH);
    }
    if let (Some(used), Some(all)) = (use_of(pod.slot), use_of(PodUse::ALL))
        && !may_open(used.flows, all.flows)
    {
        return fail(EAGAIN);
    }
    let destination = addr.address();
    let rule = socket.rule;
    of_the_node(socket, &destination, addr.port(), Origin::Pod);
    socket.dialled = destination;
    socket.dialled_port = addr.port();
    socket.slot = pod.slot;
    socket.group = pod.group;
    socket.uid = pod.uid;
    socket.set = pod.egress;
    socket.rule = rule;
    socket.netns = netns;
    socket.flags = Socket::BEHALF;
    if let Some(workload) = workload(&destination) {
        socket.peer_group = workload.group;
    }
    GO_ON
}

/// Writes the record of a connection that is no pod's, but for its namespace, its flags and what was
/// dialled.
#[inline(always)]
fn of_the_node(socket: &mut Socket, destination: &Address, port: u16, origin: Origin) {
    socket.destination = *destination;
    socket.destination_port = port;
    socket.slot = 0;
    socket.group = 0;
    socket.uid = 0;
    socket.set = SetId::EMPTY;
    socket.opened_at = now();
    socket.rule = 0;
    socket.origin = origin as u8;
    socket.protocol = TCP;
    socket.peer_uid = 0;
    socket.peer_group = 0;
}

#[inline(always)]
fn from_pod(addr: &SockAddr, subject: &mut Subject, pod: &Pod, settings: &Settings) -> i32 {
    let protocol = subject.tuple.protocol;
    if subject.dialled.is_loopback() || subject.dialled.is_unspecified() || subject.dialled.is_redirect() {
        return leave_alone(addr);
    }
    let mut admission = Admission::UNASKED;
    if !service::resolve(subject, pod.namespace, &mut admission) {
        return fail(EHOSTUNREACH);
    }
    let to_itself = pod.owns(&subject.tuple.destination);
    if to_itself {
        subject.peer_group = pod.group;
        // A connected UDP socket's own datagrams never pass the interface where its tuple would be
        // published; its port is not chosen yet, so 0 stands for it (see `gate`).
        if protocol == UDP
            && addr.netns() == pod.netns
            && publish(subject, pod, u32::from(admission.rule)) != 0
        {
            report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
            return fail(EAGAIN);
        }
    } else if !admission.engine {
        let refused = judge(subject, pod, settings, &mut admission);
        if refused != 0 {
            return fail(refused);
        }
    }
    if protocol == TCP
        && let (Some(used), Some(all)) = (use_of(pod.slot), use_of(PodUse::ALL))
        && !may_open(used.flows, all.flows)
    {
        report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
        return fail(EAGAIN);
    }
    let netns = addr.netns();
    let to_agent = admission.tunnelled || admission.engine;
    if to_agent && netns != pod.netns {
        // A namespace that the pod nested in its own: there is no listener in it.
        report::denied(subject, Reason::ListenerMissing, pod.egress, admission.rule);
        return fail(ENETUNREACH);
    }
    // SAFETY: the context's own socket.
    let Some(socket) = (unsafe { socket_or_new(addr.sk()) }) else {
        count(Counter::StorageFailed);
        return fail(EAGAIN);
    };
    socket.dialled = subject.dialled;
    socket.destination = subject.tuple.destination;
    socket.dialled_port = subject.dialled_port;
    socket.destination_port = subject.tuple.destination_port;
    socket.slot = pod.slot;
    socket.group = pod.group;
    socket.netns = netns;
    socket.uid = pod.uid;
    socket.set = pod.egress;
    socket.opened_at = now();
    socket.rule = admission.rule;
    socket.origin = Origin::Pod as u8;
    socket.protocol = protocol;
    socket.flags = if admission.audited { Socket::AUDITED } else { 0 };
    if admission.engine {
        socket.flags |= Socket::ENGINE;
    }
    socket.peer_uid = 0;
    socket.peer_group = subject.peer_group;
    let rewritten = if to_agent {
        redirect::to_listener(addr, socket, pod)
    } else if subject.is_translated() {
        socket.flags |= Socket::TRANSLATED;
        if to_itself {
            redirect::unbind_from_device(addr);
        }
        addr.set(&subject.tuple.destination, subject.tuple.destination_port)
    } else {
        true
    };
    if !rewritten {
        report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
        return fail(EHOSTUNREACH);
    }
    GO_ON
}
