//! Gives relay its sockets inside pods' namespaces, see [`crate::handover::sockets`].
//!
//! Only of wired pods of this node, by their UID. What is asked for is small and made on the spot;
//! one request at a time a connection, so what relay does not fetch is bounded by the socket's
//! buffer. From relay no descriptor is taken.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use socket2::{Domain, Protocol, Socket, Type};

use super::endpoint::{self, EndpointError};
use super::listeners::{Listeners, Pair};
use super::roster::Roster;
use crate::handover::sockets::{
    ChannelError, DESCRIPTORS, Given, Need, Request, Response, receive_plain, send,
};
use crate::handover::{VERSION, uid_hash};
use crate::sys::netns::Netns;

/// Connections at once: one of each of relay's threads, of two relays while one replaces the other.
const CONNECTIONS: usize = 64;
/// How long relay may take to fetch an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// The channel's listening socket.
#[derive(Debug)]
pub(super) struct Channel {
    listener: OwnedFd,
    relay_uid: u32,
}

/// Where sockets come from.
#[derive(Debug, Clone)]
pub(super) struct Supply {
    /// The wired pods.
    pub(super) roster: Roster,
    /// Their listeners.
    pub(super) listeners: Listeners,
}

impl Channel {
    /// Listens at `path`, in place of whatever an earlier wire left there.
    ///
    /// # Errors
    /// When the socket cannot be made or given to relay's user.
    pub(super) fn bind(path: &Path, relay_uid: u32) -> Result<Self, EndpointError> {
        let listener = endpoint::place(path, relay_uid, |path| {
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        })?;
        Ok(Self { listener, relay_uid })
    }

    /// Serves relay on threads of its own.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(self, supply: Supply) -> io::Result<()> {
        thread::Builder::new().name("supply".to_owned()).spawn(move || {
            let open = Arc::new(AtomicUsize::new(0));
            loop {
                let accepted = self.accept();
                let served = accepted.and_then(|socket| serve(socket, supply.clone(), &open));
                if let Err(error) = served {
                    tracing::warn!(%error, "a connection to the sockets channel was refused");
                }
            }
        })?;
        Ok(())
    }

    fn accept(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?;
        endpoint::admit(&socket, self.relay_uid)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        Ok(socket)
    }
}

fn serve(socket: OwnedFd, supply: Supply, open: &Arc<AtomicUsize>) -> io::Result<()> {
    if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
        open.fetch_sub(1, Ordering::Relaxed);
        return Err(io::Error::other(format!("relay has {CONNECTIONS} of them open already")));
    }
    let counted = Arc::clone(open);
    let started = thread::Builder::new().name("supply-relay".to_owned()).spawn(move || {
        match supply.serve(&socket) {
            ChannelError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            error => tracing::warn!(%error, "relay's connection to the sockets channel ended"),
        }
        counted.fetch_sub(1, Ordering::Relaxed);
    });
    if started.is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
    started.map(drop)
}

/// Sockets on their way to relay.
#[derive(Debug)]
enum Sockets {
    None,
    Listening(Arc<Pair>),
    Connecting(Vec<OwnedFd>),
}

impl Sockets {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::None => Vec::new(),
            Self::Listening(pair) => pair.both().to_vec(),
            Self::Connecting(sockets) => sockets.iter().map(AsFd::as_fd).collect(),
        }
    }
}

impl Supply {
    /// Answers requests until the connection ends; gives why it did.
    fn serve(&self, socket: &OwnedFd) -> ChannelError {
        loop {
            let request: Request = match receive_plain(socket) {
                Ok(request) => request,
                Err(error) => return error,
            };
            let (given, sockets) = self.answer(request.version, request.need);
            if let Given::Refused { uid, why } = &given {
                tracing::debug!(pod = uid, why, "relay is given no socket, and told why");
            }
            let response = Response { id: request.id, given };
            if let Err(error) = send(socket, &response, &sockets.descriptors()) {
                return error;
            }
        }
    }

    fn answer(&self, version: u16, need: Need) -> (Given, Sockets) {
        let answered = if version == VERSION {
            match &need {
                Need::Listeners { uid } => self.listeners(uid),
                Need::Connecting { uid, v6, count } => self.connecting(uid, *v6, *count),
            }
        } else {
            Err(format!(
                "relay speaks version {version} of the handover, wire {VERSION}; run the same mesh-agent for both"
            ))
        };
        answered.unwrap_or_else(|why| {
            let (Need::Listeners { uid } | Need::Connecting { uid, .. }) = need;
            (Given::Refused { uid, why }, Sockets::None)
        })
    }

    fn listeners(&self, uid: &str) -> Result<(Given, Sockets), String> {
        let kept = self.listeners.of(uid_hash(uid)).ok_or(
            "the pod has no listeners: it is not wired on this node, or they could not be made (its report \
             says why)",
        )?;
        Ok((Given::Listeners { uid: uid.to_owned(), netns: kept.netns }, Sockets::Listening(kept.pair)))
    }

    fn connecting(&self, uid: &str, v6: bool, count: u8) -> Result<(Given, Sockets), String> {
        if count == 0 || usize::from(count) > DESCRIPTORS {
            return Err(format!("{count} sockets were asked for; 1 to {DESCRIPTORS} can be"));
        }
        let roster = self.roster.get();
        let pod = roster.iter().find(|pod| pod.uid == uid).ok_or("the pod is not wired on this node")?;
        let netns = pod.netns().ok_or("no process of the pod is in its network namespace any more")?;
        let sockets =
            make(&netns, v6, count).map_err(|error| format!("making sockets in the pod: {error}"))?;
        Ok((Given::Connecting { uid: uid.to_owned(), v6, count }, Sockets::Connecting(sockets)))
    }
}

/// TCP sockets inside a namespace, neither bound nor connected.
fn make(netns: &Netns, v6: bool, count: u8) -> io::Result<Vec<OwnedFd>> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let one = || Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)).map(OwnedFd::from);
    netns.within(|| (0..count).map(|_| one()).collect())?
}
