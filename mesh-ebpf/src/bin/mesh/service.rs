//! From a Service's frontend to one of its endpoints.

use mesh_ebpf::{
    abi::{
        Affinity, AffinityKey, Backend, BackendKey, ConsumerKey, Counter, MemberKey, Reason, Service,
        ServiceKey,
    },
    address::Address,
    pick::{Slot, settle, spread},
    policy::SetId,
};

use crate::{
    egress::Admission,
    kernel::{count, now, random},
    maps::{AFFINITY, BACKENDS, CONSUMERS, MEMBERS, SERVICES},
    report::{self, Subject},
};

/// How long an unconnected UDP socket keeps its endpoint after its last datagram: what
/// nf_conntrack gives a UDP stream (`nf_conntrack_udp_timeout_stream`).
const DATAGRAM_STICKS: u64 = 120_000_000_000;

/// An endpoint.
#[derive(Clone, Copy)]
#[repr(C)]
struct Endpoint {
    address: Address,
    port: u16,
    /// Of the [`Backend`] that was picked.
    flags: u16,
}

/// What a dialled address turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Dialled {
    /// No Service's frontend: it is the destination itself.
    Direct = 0,
    /// A Service's, and an endpoint was picked.
    Picked = 1,
    /// A Service's that has no endpoint, or none for this one.
    Empty = 2,
    /// A Service's whose requests the agent routes.
    Routed = 3,
}

/// Whether the address and port are a Service's frontend.
#[inline(always)]
pub fn is_frontend(address: &Address, port: u16, protocol: u8) -> bool {
    let key = ServiceKey { address: *address, port, protocol, reserved: 0 };
    SERVICES.get_ptr(&key).is_some()
}

/// Leads the tuple of `subject` to an endpoint, where what it dials is a Service's frontend. False,
/// and reported, for a Service that has none. The tuple's source port is that of an unconnected UDP
/// socket, else 0. `namespace` is the caller's ([`mesh_ebpf::abi::Pod::namespace`]).
#[inline(always)]
pub fn resolve(subject: &mut Subject, namespace: u64, admission: &mut Admission) -> bool {
    let mut endpoint = Endpoint { address: subject.dialled, port: subject.dialled_port, flags: 0 };
    let tuple = &subject.tuple;
    let what = u64::from(tuple.protocol) | u64::from(tuple.source_port) << 16;
    let dialled = pick(&mut endpoint, what, &tuple.source, namespace);
    if dialled == Dialled::Empty as u64 {
        report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
        return false;
    }
    if dialled == Dialled::Picked as u64 {
        subject.tuple.destination = endpoint.address;
        subject.tuple.destination_port = endpoint.port;
        admission.endpoint = endpoint.flags;
    }
    admission.engine = dialled == Dialled::Routed as u64;
    true
}

/// Picks an endpoint for `client` into `endpoint`, which holds what was dialled and keeps it
/// unless one is picked; gives a [`Dialled`]. `what` holds the protocol and, from bit 16, the local
/// port of an unconnected UDP socket, else 0.
#[inline(never)]
fn pick(endpoint: &mut Endpoint, what: u64, client: &Address, namespace: u64) -> u64 {
    let datagram_port = (what >> 16) as u16;
    let frontend =
        ServiceKey { address: endpoint.address, port: endpoint.port, protocol: what as u8, reserved: 0 };
    let Some(mut service) = of_frontend(&frontend, namespace) else {
        return Dialled::Direct as u64;
    };
    if service.flags & Service::ENGINE != 0 {
        return Dialled::Routed as u64;
    }
    if service.slots == 0 {
        return Dialled::Empty as u64;
    }
    let sticks = service.affinity_seconds != 0 || datagram_port != 0;
    let affinity = AffinityKey {
        client: *client,
        service: service.id,
        port: if service.affinity_seconds != 0 { 0 } else { datagram_port },
        reserved: [0; 6],
    };
    if sticks && sticky(&affinity, &service, endpoint) {
        return Dialled::Picked as u64;
    }
    let mut drawn = any(&service, endpoint);
    if drawn == Drawn::Gone {
        // The generation was replaced between the two lookups: the entry names the new one.
        count(Counter::PicksRetried);
        if let Some(current) = of_frontend(&frontend, namespace) {
            service = current;
        }
        drawn = any(&service, endpoint);
    }
    if drawn != Drawn::Endpoint {
        return Dialled::Empty as u64;
    }
    if sticks {
        let value =
            Affinity { address: endpoint.address, used_at: now(), port: endpoint.port, reserved: [0; 6] };
        // A failed insert only means another pick next time.
        let _ = AFFINITY.insert(&affinity, &value, 0);
    }
    count(Counter::Translated);
    Dialled::Picked as u64
}

/// The Service of a frontend as the callers of `namespace` see it.
#[inline(always)]
fn of_frontend(frontend: &ServiceKey, namespace: u64) -> Option<Service> {
    // SAFETY: entries are replaced whole, and copied out.
    let service = unsafe { SERVICES.get(frontend).copied() }?;
    if service.flags & Service::CONSUMERS == 0 {
        return Some(service);
    }
    let key = ConsumerKey { service: service.id, namespace };
    // SAFETY: as above.
    unsafe { CONSUMERS.get(&key).copied() }.or(Some(service))
}

/// The endpoint this client had before, while it is still one and the time has not run out.
#[inline(always)]
fn sticky(key: &AffinityKey, service: &Service, endpoint: &mut Endpoint) -> bool {
    let Some(before) = AFFINITY.get_ptr_mut(key) else {
        return false;
    };
    let lasts = if service.affinity_seconds != 0 {
        u64::from(service.affinity_seconds) * 1_000_000_000
    } else {
        DATAGRAM_STICKS
    };
    // SAFETY: a value of the map, which stays readable until the program ends; a concurrent change
    // at worst costs a pick.
    let before = unsafe { &mut *before };
    let time = now();
    if time.saturating_sub(before.used_at) > lasts {
        return false;
    }
    let member = MemberKey {
        service: service.id.to_ne_bytes(),
        address: before.address,
        port: before.port,
        reserved: 0,
    };
    // SAFETY: one byte of the entry is read.
    let Some(flags) = (unsafe { MEMBERS.get(&member) }) else {
        return false;
    };
    endpoint.flags = u16::from(*flags);
    before.used_at = time;
    endpoint.address = before.address;
    endpoint.port = before.port;
    true
}

/// What a draw among the slots of a Service comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drawn {
    /// An endpoint.
    Endpoint,
    /// The share of a route's connections that is refused.
    Closed,
    /// The generation's slots are gone.
    Gone,
}

/// A weighted random endpoint.
#[inline(always)]
fn any(service: &Service, endpoint: &mut Endpoint) -> Drawn {
    let mut key = BackendKey {
        service: service.id,
        generation: service.generation,
        slot: spread(random(), service.slots),
    };
    // SAFETY: slots are immutable within a generation.
    let Some(own) = (unsafe { BACKENDS.get(&key) }) else {
        return Drawn::Gone;
    };
    let settled = settle(key.slot, Slot { threshold: own.threshold, alias: own.alias }, random());
    let mut taken: &Backend = own;
    if settled != key.slot {
        key.slot = settled;
        // SAFETY: as above.
        match unsafe { BACKENDS.get(&key) } {
            Some(other) => taken = other,
            None => return Drawn::Gone,
        }
    }
    if taken.flags & Backend::PICKED == 0 {
        return Drawn::Closed;
    }
    endpoint.address = taken.address;
    endpoint.port = taken.port;
    endpoint.flags = taken.flags;
    Drawn::Endpoint
}
