//! Why a connection through the tunnel came to nothing, in an operator's words.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_ebpf::abi::Reason;

use super::closer::Closer;
use super::copy::End;
use super::sockets::DialError;
use crate::relay::tls::TlsFault;

/// A reason and what there is to say to it; shared by all that fail of one cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Failure {
    /// Its reason in log, metric and CLI.
    pub reason: Reason,
    /// What failed, on what, why, and what to check.
    pub detail: Arc<str>,
}

impl Failure {
    /// A failure with its text.
    pub(crate) fn new(reason: Reason, detail: impl Into<Arc<str>>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The tunnel's port could not be reached.
    pub(crate) fn of_tunnel(error: &DialError, to: SocketAddr) -> Self {
        let (reason, check) = match error {
            DialError::TimedOut => (
                Reason::TunnelTimedOut,
                "; a firewall or a NetworkPolicy may drop the tunnel's port, or the node is down",
            ),
            DialError::Connect(cause) => match cause.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => (
                    Reason::TunnelRefused,
                    "; a firewall may reject the tunnel's port, or the pod is not wired on its node (`meshctl check`)",
                ),
                _ => (Reason::TunnelUnreachable, "; check the routes between the nodes"),
            },
            other => return Self::of_socket(other),
        };
        Self::new(reason, format!("tunnel to {to}: {error}{check}"))
    }

    /// The application could not be reached from its own node.
    pub(crate) fn of_delivery(error: &DialError, to: SocketAddr) -> Self {
        let reason = match error {
            DialError::TimedOut => Reason::UpstreamTimedOut,
            DialError::Connect(cause) => match cause.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Reason::UpstreamRefused,
                _ => Reason::UpstreamUnreachable,
            },
            other => return Self::of_socket(other),
        };
        Self::new(reason, format!("delivery to {to}: {error}"))
    }

    fn of_socket(error: &DialError) -> Self {
        let reason = match error {
            DialError::Exhausted => Reason::RelayExhausted,
            DialError::Prepare(cause) if cause.raw_os_error() == Some(libc::EMFILE) => Reason::RelayExhausted,
            _ => Reason::SocketUnavailable,
        };
        Self::new(reason, error.to_string())
    }

    /// TLS failed with the peer at an address.
    pub(crate) fn of_tls(fault: &TlsFault, peer: SocketAddr) -> Self {
        Self::new(fault.reason(), format!("tunnel with {peer}: {fault}"))
    }

    /// HTTP/2 failed before there was an answer.
    pub(crate) fn of_http(error: &h2::Error, peer: SocketAddr) -> Self {
        let protocol = error.is_library() && (error.is_go_away() || error.is_reset());
        let reason = if protocol { Reason::PeerNotHbone } else { Reason::PeerFailed };
        Self::new(reason, format!("tunnel with {peer}: HTTP/2: {error}"))
    }

    /// How an open connection ended; `tunnel` is what may have ended the tunnel under it.
    pub(crate) fn of_end(end: &End, tunnel: &Closer) -> Self {
        match end {
            End::Finished => Self::new(Reason::Finished, ""),
            End::Local(error) => Self::new(Reason::Reset, format!("the local application's socket: {error}")),
            End::Reset(h2::Reason::CANCEL | h2::Reason::CONNECT_ERROR | h2::Reason::NO_ERROR) => {
                Self::new(Reason::Reset, "reset at the other end of the tunnel")
            }
            End::Reset(reason) => {
                Self::new(Reason::PeerFailed, format!("the tunnel's other end reset the stream: {reason}"))
            }
            End::Lost(error) => match tunnel.reason() {
                Some(reason) => Self::new(reason, "the tunnel was closed by this node"),
                None => Self::new(Reason::PeerFailed, format!("the tunnel was lost: {error}")),
            },
        }
    }
}
