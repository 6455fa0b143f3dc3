//! What went wrong with TLS, as an operator needs it: which reason, and what to check.
//!
//! A fault found by our own verifier travels through rustls and comes back out of the failed
//! handshake. rustls picks the alert that the other end gets by the kind of its error, so faults
//! that have a kind of their own in RFC 8446, section 6.2, are carried as that kind; the others
//! keep their text and are told to the peer as `certificate_unknown`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_ebpf::abi::Reason;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// Why a peer is not believed, or does not believe us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsFault {
    /// Nothing to verify with.
    #[error(
        "this node has no trust bundle yet, so nobody can be verified; check that relay reaches the controller"
    )]
    NoRoots,
    /// No chain to a root.
    #[error(
        "the peer's certificate does not chain to a root of the trust bundle: it is self-signed, or of another mesh or an older root; check that both nodes have the same roots (`meshctl ca status`)"
    )]
    Untrusted,
    /// Over.
    #[error(
        "the peer's certificate expired at {} (it is {} here); check why the peer's relay cannot renew it, and the clocks of both nodes",
        moment(not_after),
        moment(now)
    )]
    Expired {
        /// When it ended.
        not_after: SystemTime,
        /// When that was found.
        now: SystemTime,
    },
    /// Not begun.
    #[error(
        "the peer's certificate is valid from {} only (it is {} here): the clock of this node or of the controller is wrong (clock skew); check time synchronisation",
        moment(not_before),
        moment(now)
    )]
    NotYetValid {
        /// When it begins.
        not_before: SystemTime,
        /// When that was found.
        now: SystemTime,
    },
    /// Of a node that was removed.
    #[error(
        "the peer's certificate is revoked: its node was removed from the mesh; if it came back, its agent has to join again"
    )]
    Revoked,
    /// Of another mesh.
    #[error(
        "the peer is {got}, of another trust domain than {expected}; check MeshConfig.trustDomain of both meshes"
    )]
    TrustDomain {
        /// Our trust domain.
        expected: String,
        /// The peer's name.
        got: String,
    },
    /// Somebody else.
    #[error(
        "the peer proved to be {got}, expected {}; its address may have been another pod's a moment ago, else check which pod has it (`meshctl identity`)",
        expected.join(" or ")
    )]
    Name {
        /// Who it might have been.
        expected: Vec<String>,
        /// Who it is.
        got: String,
    },
    /// A node, or something else that is not a workload.
    #[error(
        "the peer's name `{got}` is not a workload's (spiffe://<trust domain>/ns/<namespace>/sa/<service account>); a certificate of a node or of the controller never counts as one"
    )]
    NotAWorkload {
        /// Its name.
        got: String,
    },
    /// Not exactly one name.
    #[error(
        "the peer's certificate has {count} URI names ({}{}), and has to have exactly one; check who issued it",
        shown.join(", "),
        if shown.len() < *count { ", ..." } else { "" }
    )]
    Names {
        /// How many.
        count: usize,
        /// The beginnings of the first ones.
        shown: Vec<String>,
    },
    /// No certificate at all.
    #[error(
        "the peer showed no certificate; what connects to the tunnel port has to be an agent of the mesh with a certificate of its pod"
    )]
    NoClientCertificate,
    /// Not readable.
    #[error("the peer's certificate cannot be read: {0}; check who issued it")]
    Malformed(String),
    /// Issued for something else.
    #[error("the peer's certificate must not be used like this: {0}; check who issued it")]
    Purpose(String),
    /// Something else than HTTP/2 over TLS.
    #[error(
        "what answers does not speak HTTP/2 over TLS 1.3 (ALPN {}), so it is no HBONE tunnel; check what listens at port 15008 there",
        .0.as_deref().unwrap_or("none")
    )]
    Protocol(Option<String>),
    /// The peer refused us, and said how.
    #[error("the peer refused this side's certificate ({}): {}", alert_name(.0), advice(.0))]
    Refused(AlertDescription),
    /// The peer went away.
    #[error(
        "the peer closed the connection during the TLS handshake; check the log of its relay, and what answers at port 15008 there"
    )]
    Closed,
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsFault {
    /// Its reason in log, metric and CLI.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NoRoots | Self::Untrusted | Self::Malformed(_) | Self::Purpose(_) => {
                Reason::CertificateUntrusted
            }
            Self::Expired { .. } => Reason::CertificateExpired,
            Self::NotYetValid { .. } => Reason::CertificateNotYetValid,
            Self::Revoked => Reason::CertificateRevoked,
            Self::TrustDomain { .. } => Reason::TrustDomainMismatch,
            Self::Name { .. } | Self::NotAWorkload { .. } | Self::Names { .. } => Reason::NameMismatch,
            Self::NoClientCertificate => Reason::NoClientCertificate,
            Self::Protocol(_) => Reason::PeerNotHbone,
            Self::Refused(alert) => refused(*alert),
            Self::Closed | Self::Other(_) => Reason::TlsFailed,
        }
    }
}

/// What an alert says of our certificate.
fn refused(alert: AlertDescription) -> Reason {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => Reason::CertificateUntrusted,
        AlertDescription::CertificateExpired => Reason::CertificateExpired,
        AlertDescription::CertificateRevoked => Reason::CertificateRevoked,
        AlertDescription::CertificateRequired => Reason::NoClientCertificate,
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => Reason::NameMismatch,
        AlertDescription::NoApplicationProtocol => Reason::PeerNotHbone,
        _ => Reason::TlsFailed,
    }
}

/// What to check when the peer sends this alert.
fn advice(alert: &AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not chain to a root that the peer has; check that both nodes have the same roots (`meshctl ca status`)"
        }
        AlertDescription::CertificateExpired => {
            "it is expired or not yet valid by the peer's clock; check time synchronisation of both nodes and the controller (clock skew)"
        }
        AlertDescription::CertificateRevoked => {
            "this node was removed from the mesh; if it is to be in it, its agent has to join again"
        }
        AlertDescription::CertificateRequired => "it wants a certificate and this side showed none",
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => {
            "its name is not one that the peer expects at this address, or it is of another trust domain or not for this use; the peer's log says which"
        }
        AlertDescription::NoApplicationProtocol => {
            "it does not speak HTTP/2 here; check what listens at port 15008 there"
        }
        _ => "the peer's log says why",
    }
}

/// The name of RFC 8446, section 6.
fn alert_name(alert: &AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before_was_lower = false;
    for character in name.chars() {
        if character.is_ascii_uppercase() && before_was_lower {
            snake.push('_');
        }
        before_was_lower = character.is_ascii_lowercase();
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

impl From<TlsFault> for Error {
    fn from(fault: TlsFault) -> Self {
        let carried = match fault {
            TlsFault::Untrusted => CertificateError::UnknownIssuer,
            TlsFault::Expired { not_after, now } => {
                CertificateError::ExpiredContext { time: unix(now), not_after: unix(not_after) }
            }
            TlsFault::NotYetValid { not_before, now } => {
                CertificateError::NotValidYetContext { time: unix(now), not_before: unix(not_before) }
            }
            TlsFault::Revoked => CertificateError::Revoked,
            TlsFault::Malformed(_) => CertificateError::BadEncoding,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        Self::InvalidCertificate(carried)
    }
}

/// What a handshake or a connection that failed with this error failed of.
pub(crate) fn fault_of(error: &io::Error) -> TlsFault {
    if let Some(fault) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        return of_rustls(fault);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => TlsFault::Closed,
        _ => TlsFault::Other(error.to_string()),
    }
}

/// The same of an error of rustls.
pub(super) fn of_rustls(error: &Error) -> TlsFault {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => TlsFault::NoClientCertificate,
        Error::AlertReceived(alert) => TlsFault::Refused(*alert),
        Error::NoApplicationProtocol | Error::InvalidMessage(_) | Error::PeerIncompatible(_) => {
            TlsFault::Protocol(None)
        }
        other => TlsFault::Other(other.to_string()),
    }
}

fn of_certificate(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::Untrusted,
        CertificateError::ExpiredContext { time, not_after } => {
            TlsFault::Expired { not_after: system(*not_after), now: system(*time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            TlsFault::NotYetValid { not_before: system(*not_before), now: system(*time) }
        }
        CertificateError::Revoked => TlsFault::Revoked,
        CertificateError::BadEncoding => TlsFault::Malformed(error.to_string()),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsFault::Purpose(error.to_string())
        }
        CertificateError::Other(OtherError(cause)) => {
            cause.downcast_ref::<TlsFault>().cloned().unwrap_or_else(|| TlsFault::Purpose(cause.to_string()))
        }
        other => TlsFault::Purpose(other.to_string()),
    }
}

fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn system(at: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.as_secs())
}

/// A time in texts, to the second (RFC 3339).
pub(crate) fn moment(at: &SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a time out of range".to_owned(), |at| at.to_string())
}
