//! A capture of what goes between the nodes, or between a node and its pods: every frame on the links of one
//! namespace, in memory and bounded. What is searched for in it is absent only if nothing was left out, so it says
//! whether anything was.

mod tls;

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use crate::layout::Layout;

pub use tls::{ServerHello, server_hellos};

/// What the kernel keeps until it is read.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Nothing on a link of the testbed is larger, segmentation offload included.
const LARGEST_FRAME: usize = 1 << 17;

/// A capture that cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot capture in {}: {source}", place.display())]
pub struct Error {
    place: PathBuf,
    source: io::Error,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    end: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Captured>>,
    place: PathBuf,
}

/// What was captured.
#[derive(Debug, Default)]
pub struct Captured {
    /// Every frame from its Ethernet header on, in order.
    pub frames: Vec<Vec<u8>>,
    /// How many were left out, because there was no room for them or nobody read them in time.
    pub left_out: u64,
}

impl Capture {
    /// Begins to capture on the bridge that joins the nodes, and returns once nothing is missed. At most `limit`
    /// bytes are kept.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the socket not made.
    pub fn begin(layout: &Layout, limit: usize) -> Result<Self, Error> {
        Self::within(layout.fabric(), limit)
    }

    /// The same on the links of a node, where its pods' are: what one of them sends to another goes over two.
    ///
    /// # Errors
    /// As [`Capture::begin`].
    pub fn on_node(layout: &Layout, node: &str, limit: usize) -> Result<Self, Error> {
        Self::within(layout.node(node).netns(), limit)
    }

    /// The same on the links of any network namespace, by the handle on it.
    ///
    /// # Errors
    /// As [`Capture::begin`].
    pub fn within(place: PathBuf, limit: usize) -> Result<Self, Error> {
        let failed = |source| Error { place: place.clone(), source };
        let netns = File::open(&place).map_err(failed)?;
        // A socket belongs to the namespace that it was made in, whoever reads it.
        let made = thread::spawn(move || {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            packet_socket()
        });
        let socket =
            made.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked"))).map_err(failed)?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || read(&socket, limit, &ended));
        Ok(Self { end, thread, place })
    }

    /// Ends it; what is on its way is still taken.
    ///
    /// # Errors
    /// If the socket failed meanwhile.
    pub fn end(self) -> Result<Captured, Error> {
        self.end.store(true, Ordering::Relaxed);
        let read = self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        read.map_err(|source| Error { place: self.place, source })
    }
}

impl Captured {
    /// Whether these bytes are in a frame.
    #[must_use]
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.frames.iter().any(|frame| find(frame, bytes).is_some())
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(Vec::len).sum()
    }
}

/// Where `needle` begins.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut at = 0;
    while let Some(found) = haystack[at..].iter().position(|byte| byte == first) {
        let after = at + found + 1;
        if haystack[after..].starts_with(rest) {
            return Some(after - 1);
        }
        at = after;
    }
    None
}

/// A socket that sees every frame of every protocol on every link of the namespace, and tells what it missed.
fn packet_socket() -> io::Result<OwnedFd> {
    let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
    Ok(socket)
}

fn read(socket: &OwnedFd, limit: usize, end: &AtomicBool) -> io::Result<Captured> {
    let mut captured = Captured::default();
    let mut buffer = vec![0; LARGEST_FRAME];
    let mut control = nix::cmsg_space!(u32);
    let (mut room, mut no_room, mut missed) = (limit, 0, 0);
    loop {
        let into = &mut [IoSliceMut::new(&mut buffer)];
        let length = match recvmsg::<()>(socket.as_raw_fd(), into, Some(&mut control), MsgFlags::empty()) {
            Ok(message) => {
                for also in message.cmsgs()? {
                    if let ControlMessageOwned::RxqOvfl(count) = also {
                        missed = u64::from(count);
                    }
                }
                message.bytes
            }
            Err(Errno::EAGAIN) if end.load(Ordering::Relaxed) => break,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if length <= room {
            room -= length;
            captured.frames.push(buffer[..length].to_vec());
        } else {
            no_room += 1;
        }
    }
    captured.left_out = missed + no_room;
    Ok(captured)
}
