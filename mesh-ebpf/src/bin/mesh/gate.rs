//! `sk_lookup` in a wired pod's namespace: the ingress gate.
//!
//! It runs for a connection's first packet, for every TCP segment that belongs to no socket (a
//! SYN-cookie ACK, a stray FIN) and for every datagram to an unconnected socket. The program is
//! shared by all pods of the node and knows which one it stands in by the address dialled. Dropping
//! answers TCP with a RST and UDP with an ICMP port unreachable.

use core::ptr::read_volatile;

use aya_ebpf::bindings::bpf_sk_lookup;
use mesh_ebpf::{
    abi::{Counter, Flow, FlowKey, Origin, Pod, ProbeKey, Reason, Settings, TCP, UDP},
    address::Address,
    policy::{Direction, Peer, SetId},
};

use crate::{
    kernel::{count, now, settings},
    maps::{CLOSED, DATAGRAMS, FLOWS, LOCAL, PROBES, WORKLOADS},
    report::{self, Subject, may_publish_datagram},
    verdict,
};

const DROP: u32 = 0;
const PASS: u32 = 1;
const LOOPBACK_INTERFACE: u32 = 1;
const AF_INET: u32 = 2;

/// The hook.
#[inline(always)]
pub fn run(ctx: *mut bpf_sk_lookup) -> u32 {
    count(Counter::GateLookups);
    let mut subject = Subject::unknown(Direction::Ingress);
    read_tuple(ctx, &mut subject.tuple);
    subject.dialled = subject.tuple.destination;
    subject.dialled_port = subject.tuple.destination_port;
    // SAFETY: `ctx` is the program's context, read word by word (see `sockaddr`).
    let interface = unsafe { read_volatile(&raw const (*ctx).ingress_ifindex) };
    if interface == LOOPBACK_INTERFACE && subject.dialled.is_loopback() {
        return PASS;
    }
    // SAFETY: entries are replaced whole and read by word.
    let Some(pod) = (unsafe { LOCAL.get(&subject.tuple.destination) }) else {
        report::denied(&subject, Reason::AddressUnknown, SetId::EMPTY, 0);
        return DROP;
    };
    let tcp = subject.tuple.protocol == TCP;
    // Within the pod's own namespace (SEMANTICS 6.4). From outside the source is validated on this
    // node and refused as martian by IPv4; over IPv6 a forged SYN is answered to the pod itself.
    if subject.tuple.source.is(&subject.tuple.destination) && (tcp || subject.tuple.source.is_v4()) {
        return PASS;
    }
    subject.of(pod);
    if tcp { admit_connection(&mut subject, pod) } else { admit_datagram(&mut subject, pod) }
}

/// Each family is read in a function of its own, see `sockops`.
#[inline(always)]
fn read_tuple(ctx: *mut bpf_sk_lookup, tuple: &mut FlowKey) {
    // SAFETY: as in `run`; the ports are a `__be16` and a number in host order.
    unsafe {
        if read_volatile(&raw const (*ctx).family) == AF_INET {
            read_v4(ctx, tuple);
        } else {
            read_v6(ctx, tuple);
        }
        tuple.source_port = u16::from_be(read_volatile(&raw const (*ctx).remote_port));
        tuple.destination_port = read_volatile(&raw const (*ctx).local_port) as u16;
        tuple.protocol = read_volatile(&raw const (*ctx).protocol) as u8;
    }
}

#[inline(never)]
fn read_v4(ctx: *mut bpf_sk_lookup, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `run`.
    unsafe {
        tuple.source = Address::from_v4_word(read_volatile(&raw const (*ctx).remote_ip4));
        tuple.destination = Address::from_v4_word(read_volatile(&raw const (*ctx).local_ip4));
    }
    0
}

#[inline(never)]
fn read_v6(ctx: *mut bpf_sk_lookup, tuple: &mut FlowKey) -> u64 {
    // SAFETY: as in `run`.
    unsafe {
        tuple.source = Address::from_words([
            read_volatile(&raw const (*ctx).remote_ip6[0]),
            read_volatile(&raw const (*ctx).remote_ip6[1]),
            read_volatile(&raw const (*ctx).remote_ip6[2]),
            read_volatile(&raw const (*ctx).remote_ip6[3]),
        ]);
        tuple.destination = Address::from_words([
            read_volatile(&raw const (*ctx).local_ip6[0]),
            read_volatile(&raw const (*ctx).local_ip6[1]),
            read_volatile(&raw const (*ctx).local_ip6[2]),
            read_volatile(&raw const (*ctx).local_ip6[3]),
        ]);
    }
    0
}

#[inline(always)]
fn admit_connection(subject: &mut Subject, pod: &Pod) -> u32 {
    if let Some(flow) = FLOWS.get_ptr_mut(&subject.tuple) {
        // SAFETY: a value of the map, readable until the program ends; words are read and written
        // one by one, and only the gate of the destination writes these.
        let flow = unsafe { &mut *flow };
        if flow.flags & Flow::SERVER_CLOSED != 0 {
            // A late segment of a connection that the server has closed, or a forger's: both get
            // a RST, as without a mesh, and neither is a denial.
            return DROP;
        }
        match proof(flow) {
            Origin::Pod => {
                if flow.uid == pod.uid && flow.netns == pod.netns {
                    return PASS;
                }
                subject.proven_by(flow);
                return judge(subject, pod, Some(flow));
            }
            Origin::Host => {
                subject.origin = Origin::Host as u8;
                if is_probe(&subject.tuple) {
                    count(Counter::ProbesPassed);
                    return PASS;
                }
            }
            _ => {}
        }
    }
    if is_late(&subject.tuple) {
        return DROP;
    }
    judge(subject, pod, None)
}

/// How long late segments of a connection may come: as long as its TIME_WAIT (`TCP_TIMEWAIT_LEN`).
const LATE: u64 = 60_000_000_000;

/// Whether the tuple was published until a moment ago: a segment that crossed the close, such as
/// the RST that answers data after a server's close. The hook cannot see the flags (KERNEL 2), so
/// it would be counted as a denial; a connection made anew on the tuple is published again.
#[inline(never)]
fn is_late(tuple: &FlowKey) -> bool {
    // SAFETY: one word of the entry is read.
    match unsafe { CLOSED.get(tuple) } {
        Some(closed) => now().saturating_sub(*closed) < LATE,
        None => false,
    }
}

/// What a published flow proves now.
#[inline(always)]
fn proof(flow: &Flow) -> Origin {
    match Origin::from_number(flow.origin) {
        Origin::Pod => match settings() {
            Some(settings) if settings.flags & Settings::LOCAL_PROOF != 0 => Origin::Pod,
            _ => Origin::Unproven,
        },
        origin => origin,
    }
}

#[inline(never)]
fn is_probe(tuple: &FlowKey) -> bool {
    let key = ProbeKey {
        address: tuple.destination,
        port: tuple.destination_port,
        protocol: tuple.protocol,
        reserved: 0,
    };
    PROBES.get_ptr(&key).is_some()
}

#[inline(always)]
fn admit_datagram(subject: &mut Subject, pod: &Pod) -> u32 {
    if is_answer(&subject.tuple, pod) || is_to_itself(&subject.tuple, pod) {
        return PASS;
    }
    if let Some(flow) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: as in `admit_connection`.
        let flow = unsafe { &mut *flow };
        if proof(flow) == Origin::Pod {
            if flow.uid == pod.uid {
                return PASS;
            }
            subject.proven_by(flow);
            let verdict = judge(subject, pod, Some(flow));
            if verdict == PASS {
                flow.flags |= Flow::ADMITTED;
            }
            return verdict;
        }
    }
    let verdict = judge(subject, pod, None);
    if verdict == PASS && admit(subject, pod) != 0 {
        report::denied(subject, Reason::FlowQuota, SetId::EMPTY, 0);
        return DROP;
    }
    verdict
}

/// Whether the datagram answers one that the pod sent.
#[inline(never)]
fn is_answer(tuple: &FlowKey, pod: &Pod) -> bool {
    let asked = tuple.reversed();
    // SAFETY: words of the entry are read one by one.
    match unsafe { DATAGRAMS.get(&asked) } {
        Some(flow) => flow.origin == Origin::Pod as u8 && flow.uid == pod.uid,
        None => false,
    }
}

/// Whether the datagram goes from the pod to itself where it connected to itself, or back: the tuple
/// is published with port 0 for the one that was not chosen yet.
#[inline(never)]
fn is_to_itself(tuple: &FlowKey, pod: &Pod) -> bool {
    if !tuple.source.is(&tuple.destination) {
        return false;
    }
    let mut connected = *tuple;
    connected.source_port = 0;
    // SAFETY: words of the entry are read one by one.
    match unsafe { DATAGRAMS.get(&connected) } {
        Some(flow) => flow.origin == Origin::Pod as u8 && flow.uid == pod.uid,
        None => false,
    }
}

/// Remembers an admitted datagram of an unproven peer, so that its answer may leave.
#[inline(never)]
fn admit(subject: &Subject, pod: &Pod) -> u32 {
    let at = now();
    if let Some(known) = DATAGRAMS.get_ptr_mut(&subject.tuple) {
        // SAFETY: as in `udp`.
        let known = unsafe { &mut *known };
        known.flags |= Flow::ADMITTED;
        known.seen_at = at;
        return 0;
    }
    if !may_publish_datagram(pod.slot, at) {
        return 1;
    }
    let flow = Flow {
        cookie: 0,
        netns: 0,
        group: 0,
        uid: 0,
        opened_at: at,
        seen_at: at,
        dialled: subject.dialled,
        dialled_port: subject.dialled_port,
        origin: Origin::Answer as u8,
        flags: Flow::ADMITTED,
        slot: 0,
        egress: SetId::EMPTY,
        ingress: pod.ingress,
        egress_rule: 0,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
    };
    DATAGRAMS.insert(&subject.tuple, &flow, 0).map_or(1, |()| 0)
}

/// Asks the ingress policy. `flow` is the proof, where there is one.
#[inline(always)]
fn judge(subject: &mut Subject, pod: &Pod, flow: Option<&mut Flow>) -> u32 {
    let peer = if flow.is_some() {
        Peer::Proven(subject.peer_group)
    } else {
        // SAFETY: entries are replaced whole and read by word.
        match unsafe { WORKLOADS.get(&subject.tuple.source) } {
            Some(workload) if workload.flags & mesh_ebpf::abi::Workload::HOST_NETWORK == 0 => {
                subject.peer_group = workload.group;
                Peer::Claimed(workload.group)
            }
            _ => Peer::Unknown,
        }
    };
    let tuple = &subject.tuple;
    let protocol = if tuple.protocol == UDP { UDP } else { TCP };
    let verdict = verdict::ask(pod.ingress, peer, &tuple.source, protocol, tuple.destination_port);
    if !verdict.allowed {
        report::denied_by(subject, pod.ingress, &verdict);
        return DROP;
    }
    if let Some(flow) = flow {
        flow.ingress = pod.ingress;
        flow.ingress_rule = verdict.rule;
    }
    if verdict.audit_denies {
        report::audited(subject, pod.ingress, &verdict);
    }
    PASS
}
