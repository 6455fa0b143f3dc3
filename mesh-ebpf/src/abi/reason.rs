//! Why something was refused or ended, each with its one name.

use crate::policy::rule;

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
    /// The endpoint is an enrolled pod's, and no pod is known there (yet, or any more): without its
    /// identity it could only be reached in plaintext.
    PeerUnknown = 19,
    /// Nobody is known at the address, and the node could not be told of every pod.
    PeersIncomplete = 20,
    /// From an address that only the agent delivers from, and no delivery of its is known.
    DeliveryUnknown = 21,
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
    /// Only rules about requests would allow it, and it does not speak HTTP.
    L7RequiredNotHttp = 71,
    /// No TLSRoute of the Service takes the server name that the client asks for, or it asks for none.
    NoRoute = 72,
}

impl Reason {
    /// Why a verdict denies, by the number of the rule that decided.
    #[inline(always)]
    #[must_use]
    pub const fn of_rule(rule: u16) -> Self {
        match rule {
            rule::DEFAULT => Self::DefaultDenied,
            rule::MTLS => Self::MtlsRequired,
            rule::ISOLATED => Self::NoRuleAllows,
            rule::MISSING => Self::PolicyMissing,
            _ => Self::PolicyDenied,
        }
    }

    /// Every reason, in order of its number.
    pub const ALL: [Self; 55] = [
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
        Self::PeerUnknown,
        Self::PeersIncomplete,
        Self::DeliveryUnknown,
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
        Self::L7RequiredNotHttp,
        Self::NoRoute,
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
            Self::PeerUnknown => "PeerUnknown",
            Self::PeersIncomplete => "PeersIncomplete",
            Self::DeliveryUnknown => "DeliveryUnknown",
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
            Self::L7RequiredNotHttp => "L7RequiredNotHTTP",
            Self::NoRoute => "NoRoute",
        }
    }
}
