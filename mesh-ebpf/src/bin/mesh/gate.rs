//! `sk_lookup` in a wired pod's namespace: the ingress gate.
//!
//! It runs for a connection's first packet, for every TCP segment that belongs to no socket (a
//! SYN-cookie ACK, a stray FIN) and for every datagram to an unconnected socket. The program is
//! shared by all pods of the node and knows which one it stands in by the address dialled. Dropping
//! answers TCP with a RST and UDP with an ICMP port unreachable.
//!
//! Four kinds of connection are the agent's: what a pod's connect redirected to it, tunnels that come
//! in, and connections whose requests it is to judge are handed to its listeners in the pod
//! ([`steer`]); what it delivers passes, because relay asked the policy before.

mod datagrams;
mod steer;

use core::ptr::read_volatile;

use aya_ebpf::bindings::bpf_sk_lookup;
use mesh_ebpf::{
    abi::{Counter, Flow, FlowKey, Origin, Pod, ProbeKey, Reason, Settings, TCP, TUNNEL_PORT, UDP},
    address::Address,
    policy::{Direction, Peer, SetId},
};

use crate::{
    kernel::{count, now, settings},
    maps::{CLOSED, FLOWS, LOCAL, PROBES},
    report::{self, Subject},
    verdict,
    workload::claimed,
};

const DROP: u32 = 0;
const PASS: u32 = 1;
/// Of [`judge`] alone: the agent is to decide for each request. Policy says so of TCP only.
const DEFER: u32 = 2;
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
    if interface == LOOPBACK_INTERFACE {
        if subject.dialled.is_redirect() {
            return steer::outbound(ctx, &mut subject);
        }
        if subject.dialled.is_loopback() {
            return PASS;
        }
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
    if tcp { admit_connection(ctx, &mut subject, pod) } else { datagrams::admit(&mut subject, pod) }
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
fn admit_connection(ctx: *mut bpf_sk_lookup, subject: &mut Subject, pod: &Pod) -> u32 {
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
                return match judge(subject, pod, Some(flow)) {
                    DEFER => steer::inbound(ctx, subject, pod),
                    verdict => verdict,
                };
            }
            Origin::Host => {
                subject.origin = Origin::Host as u8;
                if is_probe(&subject.tuple) {
                    count(Counter::ProbesPassed);
                    return PASS;
                }
            }
            Origin::Agent => {
                if flow.flags & Flow::DELIVERY != 0 && flow.netns == pod.netns {
                    return PASS;
                }
            }
            _ => {}
        }
    } else if is_late(&subject.tuple) {
        return DROP;
    }
    if subject.tuple.source.is_redirect() {
        // Only deliveries come from there. One without a flow, for want of room, would show the
        // application a client that means nothing, and be judged as nobody's.
        report::denied(subject, Reason::DeliveryUnknown, SetId::EMPTY, 0);
        return DROP;
    }
    if subject.dialled_port == TUNNEL_PORT {
        return steer::inbound(ctx, subject, pod);
    }
    match judge(subject, pod, None) {
        DEFER => steer::inbound(ctx, subject, pod),
        verdict => verdict,
    }
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

/// Asks the ingress policy: [`DROP`], [`PASS`] or [`DEFER`]. `flow` is the proof, where there is one.
#[inline(always)]
fn judge(subject: &mut Subject, pod: &Pod, flow: Option<&mut Flow>) -> u32 {
    let peer = if flow.is_some() {
        Peer::Proven(subject.peer_group)
    } else {
        let peer = claimed(&subject.tuple.source);
        subject.peer_group = peer.group();
        peer
    };
    let tuple = &subject.tuple;
    let protocol = if tuple.protocol == UDP { UDP } else { TCP };
    let verdict = verdict::ask(pod.ingress, peer, &tuple.source, protocol, tuple.destination_port);
    if !verdict.allowed && !verdict.deferred {
        report::denied_by(subject, pod.ingress, &verdict);
        return DROP;
    }
    if let Some(flow) = flow {
        flow.ingress = pod.ingress;
        flow.ingress_rule = verdict.rule;
    }
    if verdict.deferred {
        return DEFER;
    }
    if verdict.audit_denies {
        report::audited(subject, pod.ingress, &verdict);
    }
    PASS
}
