//! From a Service's frontend to one of its endpoints.

use mesh_ebpf::{
    abi::{Affinity, AffinityKey, Backend, BackendKey, Counter, MemberKey, Reason, Service, ServiceKey},
    address::Address,
    pick::{Slot, settle, spread},
    policy::SetId,
};

use crate::{
    egress::Admission,
    kernel::{count, now, random},
    maps::{AFFINITY, BACKENDS, MEMBERS, SERVICES},
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
    /// A Service's that has no endpoint.
    Empty = 2,
}

/// Whether the address and port are a Service's frontend.
#[inline(always)]
pub fn is_frontend(address: &Address, port: u16, protocol: u8) -> bool {
    let key = ServiceKey { address: *address, port, protocol, reserved: 0 };
    SERVICES.get_ptr(&key).is_some()
}

/// Leads the tuple of `subject` to an endpoint, where what it dials is a Service's frontend. False,
/// and reported, for a Service that has none. The tuple's source port is that of an unconnected UDP
/// socket, else 0.
#[inline(always)]
pub fn resolve(subject: &mut Subject, admission: &mut Admission) -> bool {
    let mut endpoint = Endpoint { address: subject.dialled, port: subject.dialled_port, flags: 0 };
    let tuple = &subject.tuple;
    let dialled = pick(&mut endpoint, u32::from(tuple.protocol), &tuple.source, u32::from(tuple.source_port));
    if dialled == Dialled::Empty as u64 {
        report::denied(subject, Reason::NoEndpoint, SetId::EMPTY, 0);
        return false;
    }
    if dialled == Dialled::Picked as u64 {
        subject.tuple.destination = endpoint.address;
        subject.tuple.destination_port = endpoint.port;
        admission.endpoint = endpoint.flags;
    }
    true
}

/// Picks an endpoint for `client` into `endpoint`, which holds what was dialled and keeps it
/// unless one is picked; gives a [`Dialled`]. `datagram_port` is the local port of an unconnected
/// UDP socket, else 0.
#[inline(never)]
fn pick(endpoint: &mut Endpoint, protocol: u32, client: &Address, datagram_port: u32) -> u64 {
    let frontend =
        ServiceKey { address: endpoint.address, port: endpoint.port, protocol: protocol as u8, reserved: 0 };
    // SAFETY: entries are replaced whole, and read by word below.
    let Some(service) = (unsafe { SERVICES.get(&frontend) }) else {
        return Dialled::Direct as u64;
    };
    let mut service = *service;
    if service.slots == 0 {
        return Dialled::Empty as u64;
    }
    let sticks = service.affinity_seconds != 0 || datagram_port != 0;
    let affinity = AffinityKey {
        client: *client,
        service: service.id,
        port: if service.affinity_seconds != 0 { 0 } else { datagram_port as u16 },
        reserved: [0; 6],
    };
    if sticks && sticky(&affinity, &service, endpoint) {
        return Dialled::Picked as u64;
    }
    let picked = match any(&service, endpoint) {
        true => true,
        false => {
            // The generation was replaced between the two lookups: the entry names the new one.
            count(Counter::PicksRetried);
            // SAFETY: as above.
            if let Some(current) = unsafe { SERVICES.get(&frontend) } {
                service = *current;
            }
            any(&service, endpoint)
        }
    };
    if !picked {
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

/// A weighted random endpoint; false when the generation's slots are gone.
#[inline(always)]
fn any(service: &Service, endpoint: &mut Endpoint) -> bool {
    let mut key = BackendKey {
        service: service.id,
        generation: service.generation,
        slot: spread(random(), service.slots),
    };
    // SAFETY: slots are immutable within a generation.
    let Some(own) = (unsafe { BACKENDS.get(&key) }) else {
        return false;
    };
    let settled = settle(key.slot, Slot { threshold: own.threshold, alias: own.alias }, random());
    let mut taken: &Backend = own;
    if settled != key.slot {
        key.slot = settled;
        // SAFETY: as above.
        match unsafe { BACKENDS.get(&key) } {
            Some(other) => taken = other,
            None => return false,
        }
    }
    endpoint.address = taken.address;
    endpoint.port = taken.port;
    endpoint.flags = taken.flags;
    true
}
