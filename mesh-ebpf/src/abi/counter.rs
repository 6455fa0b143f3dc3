//! What the kernel programs count besides refusals.

/// Indices of the per-CPU array `mesh_counters`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Counter {
    /// Events that found no room in the ring.
    EventsLost = 0,
    /// Events not reported because their pod caused too many.
    EventsSuppressed = 1,
    /// Denials that found no room in `mesh_denials`.
    DenialsUncounted = 2,
    /// Connects of unknown pods that passed (`enrolment.unknown: Open`).
    UnknownPassed = 3,
    /// Flows that found no room in the map: the gate refuses them.
    FlowsFull = 4,
    /// Flows whose tuple another socket had published already.
    FlowsTaken = 5,
    /// Sockets whose storage could not be made.
    StorageFailed = 6,
    /// Gate lookups.
    GateLookups = 7,
    /// Probes of the kubelet that passed.
    ProbesPassed = 8,
    /// Packets of pods checked at their interface.
    PacketsChecked = 9,
    /// Picks that had to be made again because the generation changed under them.
    PicksRetried = 10,
    /// Packets of pending or unknown pods dropped before they are wired.
    PendingDropped = 11,
    /// Connects that were translated from a Service to an endpoint.
    Translated = 12,
    /// TCP connections established, each told by one side (see `EventKind::Opened`).
    Opened = 13,
    /// TCP connections that ended, failed connects included.
    Closed = 14,
    /// Connections the host made to local pods, published as the node's.
    HostPublished = 15,
    /// Connections redirected to the tunnel.
    Tunnelled = 16,
    /// Tunnelled connections delivered to a local pod.
    Delivered = 17,
}

impl Counter {
    /// How many there are.
    pub const COUNT: u32 = 18;

    /// Their metric names, by index.
    pub const NAMES: [&'static str; Self::COUNT as usize] = [
        "events_lost",
        "events_suppressed",
        "denials_uncounted",
        "unknown_pods_passed",
        "flows_full",
        "flows_taken",
        "socket_storage_failed",
        "gate_lookups",
        "probes_passed",
        "packets_checked",
        "picks_retried",
        "pending_dropped",
        "services_translated",
        "connections_opened",
        "connections_closed",
        "host_published",
        "tunnelled",
        "delivered",
    ];
}
