//! What the kernel programs report: exact counts, and events for the log.

use crate::abi::FlowKey;
use crate::address::Address;
use crate::policy::SetId;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum EventKind {
    /// A connection, datagram or packet was refused; `reason` says why.
    Denied = 1,
    /// A policy in Audit mode would have refused it; it went on.
    Audited = 2,
    /// A connection was established.
    Opened = 3,
    /// A connection ended; `reason` says how.
    Closed = 4,
}

/// Why something was denied, or how a connection ended. One number space, so that a reason has one
/// name in log, metric and CLI.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u16)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Reason {
    /// None.
    None = 0,
    /// A rule denies it.
    PolicyDenied = 1,
    /// A policy selects the pod and no rule of it allows this.
    NoRuleAllows = 2,
    /// MeshConfig's default denies what nothing decided.
    DefaultDenied = 3,
    /// MeshConfig requires mTLS and the source is unproven.
    MtlsRequired = 4,
    /// The egress rule requires mTLS and the destination is not enrolled.
    EgressMtlsRequired = 5,
    /// The agent's listener in the pod is not there, so the tunnel cannot be reached.
    ListenerMissing = 6,
    /// The pod's compiled policy is not in the kernel: refused until it is.
    PolicyMissing = 7,
    /// The Service has no endpoint.
    NoEndpoint = 8,
    /// The pod is enrolled and not wired yet.
    PodPending = 9,
    /// The pod is unknown and `enrolment.unknown` is Closed.
    PodUnknown = 10,
    /// The pod holds as many flow entries as it may.
    FlowQuota = 11,
    /// The packet's source address is not the pod's.
    SourceSpoofed = 12,
    /// The ARP or neighbour-discovery sender is not the pod's.
    NeighbourSpoofed = 13,
    /// No socket that passed the hooks sent this (raw socket, NAT in the pod, nested namespace).
    NotPublished = 14,
    /// A protocol other than TCP or UDP under default deny.
    ProtocolDenied = 15,
    /// A packet that cannot be judged: fragment without a header, truncated, extension headers.
    Malformed = 16,
    /// Addressed to an address the pod is not known by.
    AddressUnknown = 17,
    /// Translated by another socket load balancer before the mesh saw it.
    VipHidden = 18,
    /// Both sides finished.
    Finished = 32,
    /// Reset by either side.
    Reset = 33,
    /// Refused by the destination: RST in answer to the SYN.
    Refused = 34,
    /// No answer.
    TimedOut = 35,
    /// Unreachable, by ICMP or for want of a route.
    Unreachable = 36,
    /// The application gave up connecting.
    Cancelled = 37,
    /// Closed by the mesh after a policy change denied it.
    PolicyChanged = 38,
    /// Closed by the mesh because its endpoint is gone.
    EndpointGone = 39,
    /// The identity has no valid certificate yet.
    NoCertificate = 48,
    /// The peer's certificate does not chain to a root of the trust domain (or is self-signed).
    CertificateUntrusted = 49,
    /// The peer's certificate has expired.
    CertificateExpired = 50,
    /// The peer's certificate is not valid yet.
    CertificateNotYetValid = 51,
    /// The peer's certificate was issued to a node that has been removed.
    CertificateRevoked = 52,
    /// The peer's identity is of another trust domain.
    TrustDomainMismatch = 53,
    /// The peer's identity is not one that discovery says the destination may have.
    NameMismatch = 54,
    /// The peer showed no certificate.
    NoClientCertificate = 55,
    /// The TLS handshake failed otherwise.
    TlsFailed = 56,
    /// The tunnel port answered with a RST.
    TunnelRefused = 57,
    /// The tunnel port did not answer.
    TunnelTimedOut = 58,
    /// The destination's network is unreachable.
    TunnelUnreachable = 59,
    /// What answers at the tunnel port does not speak HBONE.
    PeerNotHbone = 60,
    /// The destination's policy refused it (401).
    PeerDenied = 61,
    /// The tunnel's other end reset the stream or went away.
    PeerFailed = 62,
    /// The destination's application refused the connection.
    UpstreamRefused = 63,
    /// The destination's application did not answer.
    UpstreamTimedOut = 64,
    /// The destination's application could not be reached from its own node.
    UpstreamUnreachable = 65,
    /// The tunnel request was malformed or not for this pod (400).
    BadRequest = 66,
    /// relay is at a bound of its own: open files, handshakes or streams.
    RelayExhausted = 67,
    /// relay is shutting down.
    Draining = 68,
    /// A connection at the outbound listener that no socket of the pod published.
    FlowUnknown = 69,
    /// wire gave no socket in the pod's namespace.
    SocketUnavailable = 70,
}

impl Reason {
    /// Every reason, in order of its number.
    pub const ALL: [Self; 50] = [
        Self::None,
        Self::PolicyDenied,
        Self::NoRuleAllows,
        Self::DefaultDenied,
        Self::MtlsRequired,
        Self::EgressMtlsRequired,
        Self::ListenerMissing,
        Self::PolicyMissing,
        Self::NoEndpoint,
        Self::PodPending,
        Self::PodUnknown,
        Self::FlowQuota,
        Self::SourceSpoofed,
        Self::NeighbourSpoofed,
        Self::NotPublished,
        Self::ProtocolDenied,
        Self::Malformed,
        Self::AddressUnknown,
        Self::VipHidden,
        Self::Finished,
        Self::Reset,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Cancelled,
        Self::PolicyChanged,
        Self::EndpointGone,
        Self::NoCertificate,
        Self::CertificateUntrusted,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateRevoked,
        Self::TrustDomainMismatch,
        Self::NameMismatch,
        Self::NoClientCertificate,
        Self::TlsFailed,
        Self::TunnelRefused,
        Self::TunnelTimedOut,
        Self::TunnelUnreachable,
        Self::PeerNotHbone,
        Self::PeerDenied,
        Self::PeerFailed,
        Self::UpstreamRefused,
        Self::UpstreamTimedOut,
        Self::UpstreamUnreachable,
        Self::BadRequest,
        Self::RelayExhausted,
        Self::Draining,
        Self::FlowUnknown,
        Self::SocketUnavailable,
    ];

    /// From its number; an unknown number is [`Reason::None`].
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        Self::ALL.into_iter().find(|reason| *reason as u16 == number).unwrap_or(Self::None)
    }

    /// Its name in logs, metrics and the CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::PolicyDenied => "PolicyDenied",
            Self::NoRuleAllows => "NoRuleAllows",
            Self::DefaultDenied => "DefaultDenied",
            Self::MtlsRequired => "MtlsRequired",
            Self::EgressMtlsRequired => "EgressMtlsRequired",
            Self::ListenerMissing => "ListenerMissing",
            Self::PolicyMissing => "PolicyMissing",
            Self::NoEndpoint => "NoEndpoint",
            Self::PodPending => "PodPending",
            Self::PodUnknown => "PodUnknown",
            Self::FlowQuota => "FlowQuota",
            Self::SourceSpoofed => "SourceSpoofed",
            Self::NeighbourSpoofed => "NeighbourSpoofed",
            Self::NotPublished => "NotPublished",
            Self::ProtocolDenied => "ProtocolDenied",
            Self::Malformed => "Malformed",
            Self::AddressUnknown => "AddressUnknown",
            Self::VipHidden => "VIPHidden",
            Self::Finished => "Finished",
            Self::Reset => "Reset",
            Self::Refused => "Refused",
            Self::TimedOut => "TimedOut",
            Self::Unreachable => "Unreachable",
            Self::Cancelled => "Cancelled",
            Self::PolicyChanged => "PolicyChanged",
            Self::EndpointGone => "EndpointGone",
            Self::NoCertificate => "NoCertificate",
            Self::CertificateUntrusted => "CertificateUntrusted",
            Self::CertificateExpired => "CertificateExpired",
            Self::CertificateNotYetValid => "CertificateNotYetValid",
            Self::CertificateRevoked => "CertificateRevoked",
            Self::TrustDomainMismatch => "TrustDomainMismatch",
            Self::NameMismatch => "NameMismatch",
            Self::NoClientCertificate => "NoClientCertificate",
            Self::TlsFailed => "TlsFailed",
            Self::TunnelRefused => "TunnelRefused",
            Self::TunnelTimedOut => "TunnelTimedOut",
            Self::TunnelUnreachable => "TunnelUnreachable",
            Self::PeerNotHbone => "PeerNotHbone",
            Self::PeerDenied => "PeerDenied",
            Self::PeerFailed => "PeerFailed",
            Self::UpstreamRefused => "UpstreamRefused",
            Self::UpstreamTimedOut => "UpstreamTimedOut",
            Self::UpstreamUnreachable => "UpstreamUnreachable",
            Self::BadRequest => "BadRequest",
            Self::RelayExhausted => "RelayExhausted",
            Self::Draining => "Draining",
            Self::FlowUnknown => "FlowUnknown",
            Self::SocketUnavailable => "SocketUnavailable",
        }
    }
}

/// A record of the ring buffer `mesh_events`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Event {
    /// When, nanoseconds of the monotonic clock.
    pub at: u64,
    /// An [`EventKind`].
    pub kind: u8,
    /// An [`crate::abi::Origin`]: of the connecting side.
    pub origin: u8,
    /// A [`Reason`].
    pub reason: u16,
    /// A [`crate::policy::Direction`]: seen by the connecting (Egress) or accepting (Ingress) side.
    pub direction: u8,
    /// Always 0.
    pub reserved: u8,
    /// Rule of `set`.
    pub rule: u16,
    /// The policy set that decided, 0 for none.
    pub set: SetId,
    /// [`crate::abi::Pod::uid`] of the reporting pod; 0 for none.
    pub uid: u64,
    /// Group of the reporting pod.
    pub group: u64,
    /// Group of the peer, by proof or by its address; 0 when unknown.
    pub peer_group: u64,
    /// The tuple, from the connecting side; a source port of 0 is one not chosen yet.
    pub tuple: FlowKey,
    /// What the application dialled.
    pub dialled: Address,
    /// What the application dialled.
    pub dialled_port: u16,
    /// Always 0.
    pub reserved2: [u8; 6],
    /// Cookie of the socket, 0 for none.
    pub cookie: u64,
    /// Since the connection was opened, nanoseconds.
    pub duration: u64,
    /// Bytes this side sent that were acknowledged.
    pub bytes_sent: u64,
    /// Bytes this side received.
    pub bytes_received: u64,
    /// Smoothed round-trip time, microseconds.
    pub rtt_microseconds: u32,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Hash of the peer pod's UID where proof tells, else 0.
    pub peer_uid: u64,
}

/// Key of `mesh_denials`, exact counts of refusals (and of what Audit policies would refuse).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct DenialKey {
    /// [`crate::abi::Pod::uid`] of the pod it happened to.
    pub uid: u64,
    /// The policy set that decided, 0 for none.
    pub set: SetId,
    /// Group of the peer, 0 when unknown.
    pub peer_group: u64,
    /// Rule of `set`.
    pub rule: u16,
    /// A [`Reason`].
    pub reason: u16,
    /// A [`crate::policy::Direction`].
    pub direction: u8,
    /// An [`EventKind`]: denied or audited.
    pub kind: u8,
    /// IP protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

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
