//! Counts exactly, tells user space what it can.
//!
//! A denial is counted in `mesh_denials` whether or not its event finds room; one pod's events are
//! limited per second so that it cannot crowd out the others'.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, maps::ring_buf::RingBufEntry};
use mesh_ebpf::{
    abi::{Counter, DenialKey, Event, EventKind, Flow, FlowKey, Origin, Pod, PodUse, Reason, capacity},
    address::Address,
    policy::{Direction, SetId, Verdict},
};

use crate::{
    kernel::{add, count, now},
    maps::{DENIALS, EVENTS, USE},
};

/// What the reports of one decision share.
#[repr(C)]
pub struct Subject {
    /// The tuple, from the connecting side.
    pub tuple: FlowKey,
    /// What the application dialled.
    pub dialled: Address,
    /// What the application dialled.
    pub dialled_port: u16,
    /// An [`Origin`] of the connecting side.
    pub origin: u8,
    /// A [`Direction`].
    pub direction: u8,
    /// Slot of the pod.
    pub slot: u32,
    /// UID hash of the pod.
    pub uid: u64,
    /// Group of the pod.
    pub group: u64,
    /// Group of the peer.
    pub peer_group: u64,
    /// UID hash of the peer.
    pub peer_uid: u64,
}

impl Subject {
    /// Nobody's yet.
    #[inline(always)]
    pub fn unknown(direction: Direction) -> Self {
        Self {
            tuple: FlowKey {
                source: Address::UNSPECIFIED,
                destination: Address::UNSPECIFIED,
                source_port: 0,
                destination_port: 0,
                protocol: 0,
                reserved: [0; 3],
            },
            dialled: Address::UNSPECIFIED,
            dialled_port: 0,
            origin: Origin::Unproven as u8,
            direction: direction as u8,
            slot: 0,
            uid: 0,
            group: 0,
            peer_group: 0,
            peer_uid: 0,
        }
    }

    /// Makes it `pod`'s.
    #[inline(always)]
    pub fn of(&mut self, pod: &Pod) {
        self.slot = pod.slot;
        self.uid = pod.uid;
        self.group = pod.group;
    }

    /// Whether the tuple leads elsewhere than what was dialled.
    #[inline(always)]
    pub fn is_translated(&self) -> bool {
        self.tuple.destination_port != self.dialled_port || !self.tuple.destination.is(&self.dialled)
    }

    /// Takes the peer from its published flow.
    #[inline(always)]
    pub fn proven_by(&mut self, flow: &Flow) {
        self.origin = Origin::Pod as u8;
        self.peer_group = flow.group;
        self.peer_uid = flow.uid;
        self.dialled = flow.dialled;
        self.dialled_port = flow.dialled_port;
    }
}

/// Reports a refusal.
#[inline(always)]
pub fn denied(subject: &Subject, reason: Reason, set: SetId, rule: u16) {
    tell(subject, EventKind::Denied as u64 | (reason as u64) << 8 | u64::from(rule) << 32, set.0);
}

/// Reports what the verdict of `set` refused.
#[inline(always)]
pub fn denied_by(subject: &Subject, set: SetId, verdict: &Verdict) {
    denied(subject, Reason::of_rule(verdict.rule), set, verdict.rule);
}

/// Reports what an Audit policy would have refused.
#[inline(always)]
pub fn audited(subject: &Subject, set: SetId, verdict: &Verdict) {
    let reason = Reason::of_rule(verdict.audit_rule);
    let what = EventKind::Audited as u64 | (reason as u64) << 8;
    tell(subject, what | u64::from(verdict.audit_rule) << 32, set.0);
}

/// Counts and tells. `what` is the event's kind, reason and rule in one register.
#[inline(never)]
fn tell(subject: &Subject, what: u64, set: u64) -> u64 {
    let kind = what as u8;
    let reason = (what >> 8) as u16;
    let rule = (what >> 32) as u16;
    let key = DenialKey {
        uid: subject.uid,
        set: SetId(set),
        peer_group: subject.peer_group,
        rule,
        reason,
        direction: subject.direction,
        kind,
        protocol: subject.tuple.protocol,
        reserved: 0,
    };
    // SAFETY: the value is only ever changed atomically.
    if let Some(counted) = unsafe { DENIALS.get(&key) } {
        add(counted, 1);
    } else {
        // On the stack, not a constant: that would be a map of its own, new with every load.
        let once = 1u64;
        if DENIALS.insert(&key, &once, 0).is_err() {
            count(Counter::DenialsUncounted);
        }
    }
    let at = now();
    if !may_tell(subject.slot, at) {
        return 0;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(Counter::EventsLost);
        return 0;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved just now, of the right size and alignment; every field is written, each in
    // place, because a second copy would not fit the stack.
    unsafe {
        (*event).at = at;
        (*event).kind = kind;
        (*event).origin = subject.origin;
        (*event).reason = reason;
        (*event).direction = subject.direction;
        (*event).reserved = 0;
        (*event).rule = rule;
        (*event).set = SetId(set);
        (*event).uid = subject.uid;
        (*event).group = subject.group;
        (*event).peer_group = subject.peer_group;
        (*event).tuple = subject.tuple;
        (*event).dialled = subject.dialled;
        (*event).dialled_port = subject.dialled_port;
        (*event).reserved2 = [0; 6];
        (*event).cookie = 0;
        (*event).duration = 0;
        (*event).bytes_sent = 0;
        (*event).bytes_received = 0;
        (*event).rtt_microseconds = 0;
        (*event).retransmits = 0;
        (*event).peer_uid = subject.peer_uid;
    }
    entry.submit(0);
    0
}

/// Room for the event of a connection that opened or closed.
#[inline(always)]
pub fn reserve() -> Option<RingBufEntry<Event>> {
    let entry = EVENTS.reserve::<Event>(0);
    if entry.is_none() {
        count(Counter::EventsLost);
    }
    entry
}

/// Hands it over. No wake-up: the reader looks a few times a second, which costs a busy node less
/// than a wake-up per connection.
#[inline(always)]
pub fn submit(entry: RingBufEntry<Event>) {
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Whether the pod has not yet caused as many events as it may in this second.
#[inline(always)]
fn may_tell(slot: u32, at: u64) -> bool {
    let Some(used) = USE.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: checked by the verifier. CPUs may race for the last events of a second and let a few
    // more through; nothing depends on the exact number.
    let used: &mut PodUse = unsafe { &mut *used };
    start_second(used, at);
    if used.events >= capacity::EVENTS_PER_POD_SECOND {
        used.suppressed += 1;
        count(Counter::EventsSuppressed);
        return false;
    }
    used.events += 1;
    true
}

/// Whether the pod may make one more UDP tuple in this second.
#[inline(always)]
pub fn may_publish_datagram(slot: u32, at: u64) -> bool {
    let Some(used) = USE.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: as in `may_tell`.
    let used: &mut PodUse = unsafe { &mut *used };
    start_second(used, at);
    if used.datagrams >= capacity::DATAGRAMS_PER_POD_SECOND {
        return false;
    }
    used.datagrams += 1;
    true
}

#[inline(always)]
fn start_second(used: &mut PodUse, at: u64) {
    let second = at / 1_000_000_000;
    if used.second != second {
        used.second = second;
        used.events = 0;
        used.datagrams = 0;
    }
}
