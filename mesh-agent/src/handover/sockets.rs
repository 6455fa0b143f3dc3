//! Sockets inside pods' namespaces: relay asks for them, wire makes them and passes them over.
//!
//! A socket belongs to the namespace it was made in for ever, and only wire may enter pods'
//! namespaces (SEMANTICS 7.1). So relay, which may nothing, asks over a socket of its own beside
//! the exchange of entries: one datagram a request (`SOCK_SEQPACKET`), one datagram an answer with
//! the descriptors attached, each at most [`MESSAGE_LIMIT`] bytes of postcard. Requests may be
//! many at once; answers carry the request's id and may come in any order.

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the socket in the run directory.
pub(crate) const NAME: &str = "sockets.sock";

/// Longest message.
pub(crate) const MESSAGE_LIMIT: usize = 64 << 10;

/// Most descriptors that one answer carries, and so most sockets that one request asks for.
pub(crate) const DESCRIPTORS: usize = 32;

/// What relay asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`crate::handover::VERSION`]; wire refuses another one.
    pub version: u16,
    /// Chosen by relay; the answer carries it.
    pub id: u64,
    /// What for.
    pub need: Need,
}

impl Request {
    /// A request of this version.
    pub(crate) fn new(id: u64, need: Need) -> Self {
        Self { version: super::VERSION, id, need }
    }
}

/// What relay needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Need {
    /// The two listeners of a pod.
    Listeners {
        /// The pod's UID.
        uid: String,
    },
    /// Sockets to connect from inside a pod's namespace.
    Connecting {
        /// The pod's UID.
        uid: String,
        /// `AF_INET6` sockets, else `AF_INET`.
        v6: bool,
        /// How many, 1 to [`DESCRIPTORS`].
        count: u8,
    },
}

/// What wire answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Response {
    /// [`Request::id`].
    pub id: u64,
    /// What is given.
    pub given: Given,
}

/// What wire gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Given {
    /// With two descriptors, non-blocking and listening: first the pod's outbound listener, then its
    /// tunnel's. wire keeps its own copies, so what waits in them outlives relay.
    Listeners {
        /// The pod's UID.
        uid: String,
        /// Cookie of its namespace.
        netns: u64,
    },
    /// With `count` descriptors: TCP sockets, non-blocking, neither bound nor connected.
    Connecting {
        /// The pod's UID.
        uid: String,
        /// `AF_INET6` sockets, else `AF_INET`.
        v6: bool,
        /// How many.
        count: u8,
    },
    /// With none.
    Refused {
        /// The pod's UID.
        uid: String,
        /// Why, and what to do.
        why: String,
    },
}

impl Given {
    /// How many descriptors belong to it.
    pub(crate) fn descriptors(&self) -> usize {
        match self {
            Self::Listeners { .. } => 2,
            Self::Connecting { count, .. } => usize::from(*count),
            Self::Refused { .. } => 0,
        }
    }
}

/// Why a message did not go or come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The socket failed, would block, or has ended (`UnexpectedEof`).
    #[error("sockets channel: {0}")]
    Io(#[from] io::Error),
    /// Longer than [`MESSAGE_LIMIT`], or more than [`DESCRIPTORS`] descriptors.
    #[error("a message of {bytes} bytes and {descriptors} descriptors exceeds the sockets channel's limits")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// Its descriptors.
        descriptors: usize,
    },
    /// A message was cut off: too long for its receiver, or the receiver is out of descriptors.
    #[error(
        "a message on the sockets channel was cut off; if this process is at its limit of open files, raise \
         LimitNOFILE"
    )]
    Cut,
    /// The message is none of this version.
    #[error(
        "a message on the sockets channel does not decode: {0}; run the same mesh-agent for wire and relay"
    )]
    Decode(#[source] postcard::Error),
    /// The message could not be encoded.
    #[error("a message for the sockets channel does not encode: {0}")]
    Encode(#[source] postcard::Error),
}

impl ChannelError {
    /// Whether the socket is only not ready now.
    pub(crate) fn would_block(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Connects to wire's end, without blocking from then on.
///
/// # Errors
/// When nothing listens at `path`, or it is another user's.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends one message with descriptors; the receiver gets copies of these.
///
/// # Errors
/// When the message is too large or the socket fails or is full; nothing is sent then.
pub(crate) fn send<M: Serialize>(
    to: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ChannelError> {
    let body = postcard::to_stdvec(message).map_err(ChannelError::Encode)?;
    let too_large = ChannelError::TooLarge { bytes: body.len(), descriptors: descriptors.len() };
    if body.len() > MESSAGE_LIMIT || descriptors.len() > DESCRIPTORS {
        return Err(too_large);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(too_large);
    }
    // A datagram goes whole or not at all.
    rustix::net::sendmsg(to, &[IoSlice::new(&body)], &mut control, SendFlags::NOSIGNAL)
        .map_err(io::Error::from)?;
    Ok(())
}

/// Receives one message with its descriptors, which close on exec.
///
/// # Errors
/// When the socket fails, ends or has nothing, or the message is cut off or none; its descriptors
/// are closed then.
pub(crate) fn receive<M: DeserializeOwned>(from: impl AsFd) -> Result<(M, Vec<OwnedFd>), ChannelError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    receive_into(from, RecvAncillaryBuffer::new(&mut space))
}

/// Receives one message; one with descriptors counts as cut off, and the kernel drops them: a
/// receiver that needs none cannot be filled with somebody's.
///
/// # Errors
/// As [`receive`].
pub(crate) fn receive_plain<M: DeserializeOwned>(from: impl AsFd) -> Result<M, ChannelError> {
    receive_into(from, RecvAncillaryBuffer::default()).map(|(message, _)| message)
}

fn receive_into<M: DeserializeOwned>(
    from: impl AsFd,
    mut control: RecvAncillaryBuffer<'_>,
) -> Result<(M, Vec<OwnedFd>), ChannelError> {
    let mut body = vec![0; MESSAGE_LIMIT];
    let received =
        rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut body)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)?;
    let descriptors = control
        .drain()
        .filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(ChannelError::Cut);
    }
    if received.bytes == 0 {
        return Err(ChannelError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    let message = postcard::from_bytes(&body[..received.bytes]).map_err(ChannelError::Decode)?;
    Ok((message, descriptors))
}
