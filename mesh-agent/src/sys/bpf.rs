//! `bpf(2)` on links, programs' attach points and pins.
//!
//! aya's link types give no descriptor and can replace a program only for tc and XDP, so every
//! link of the mesh goes through here: one way to make, pin, replace, check and remove them.

mod attr;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use attr::{Info, LinkCreate, LinkDetach, LinkInfoRaw, LinkUpdate, Object, Query};

/// Where programs can be attached (`enum bpf_attach_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub(crate) enum AttachType {
    /// Packets into a cgroup's sockets.
    CgroupInetIngress = 0,
    /// Packets out of a cgroup's sockets.
    CgroupInetEgress = 1,
    /// TCP life events of a cgroup's sockets.
    CgroupSockOps = 3,
    /// `connect`, IPv4.
    Inet4Connect = 10,
    /// `connect`, IPv6.
    Inet6Connect = 11,
    /// `sendmsg` of UDP, IPv4.
    Udp4Sendmsg = 14,
    /// `sendmsg` of UDP, IPv6.
    Udp6Sendmsg = 15,
    /// `recvmsg` of UDP, IPv4.
    Udp4Recvmsg = 19,
    /// `recvmsg` of UDP, IPv6.
    Udp6Recvmsg = 20,
    /// `getsockopt`.
    CgroupGetsockopt = 21,
    /// `setsockopt`.
    CgroupSetsockopt = 22,
    /// `getpeername`, IPv4.
    Inet4Getpeername = 29,
    /// `getpeername`, IPv6.
    Inet6Getpeername = 30,
    /// The choice of a listener in a network namespace.
    SkLookup = 36,
    /// Packets that arrive at an interface.
    TcxIngress = 46,
    /// Packets that leave by an interface.
    TcxEgress = 47,
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// A cgroup directory or a network namespace.
    Fd(BorrowedFd<'a>),
    /// An interface of the calling thread's network namespace.
    Interface(u32),
}

impl Target<'_> {
    fn number(self) -> u32 {
        match self {
            Self::Fd(fd) => raw(fd),
            Self::Interface(index) => index,
        }
    }
}

/// What the kernel says of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkInfo {
    /// Its id.
    pub(crate) id: u32,
    /// Id of its program.
    pub(crate) program: u32,
    /// Cgroup id, inode of the network namespace, or interface index, by the kind of link; 0 when
    /// what it was attached to is gone.
    pub(crate) target: u64,
}

impl LinkInfo {
    /// Whether what it was attached to is gone.
    pub(crate) fn is_defunct(&self) -> bool {
        self.target == 0
    }
}

const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;

/// Link types whose target is a 32-bit number (`enum bpf_link_type`): netns and tcx.
const LINK_TYPE_CGROUP: u32 = 3;

/// The programs a query has room for.
const QUERY_LIMIT: usize = 128;

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is open, so never negative.
    fd.as_raw_fd().cast_unsigned()
}

/// Calls `bpf(2)`.
///
/// # Safety
/// Pointers inside `attr` must be valid for what `command` does with them.
pub(super) unsafe fn call<T>(command: libc::c_int, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a live, exclusively borrowed value of the size passed with it; the kernel
    // reads and writes no more than that, and the caller answers for the pointers in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    super::checked(result)
}

/// Takes ownership of a descriptor that a call has just returned.
pub(super) fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel returned it to us just now, so it is open and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Opens the object pinned at `path`.
///
/// # Errors
/// As `BPF_OBJ_GET`; `NotFound` when nothing is pinned there.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Object { path: path.as_ptr() as u64, ..Object::default() };
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    unsafe { call(OBJ_GET, &mut attr) }.map(owned)
}

/// Pins an object at `path`, which must be on a bpf file system and free.
///
/// # Errors
/// As `BPF_OBJ_PIN`.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Object { path: path.as_ptr() as u64, fd: raw(object), ..Object::default() };
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    unsafe { call(OBJ_PIN, &mut attr) }.map(drop)
}

/// Attaches a program.
///
/// # Errors
/// As `BPF_LINK_CREATE`.
pub(crate) fn create_link(
    program: BorrowedFd<'_>,
    target: Target<'_>,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        program: raw(program),
        target: target.number(),
        attach_type: attach_type as u32,
        ..LinkCreate::default()
    };
    // SAFETY: no pointer in it.
    unsafe { call(LINK_CREATE, &mut attr) }.map(owned)
}

/// Replaces the program of a link, with no moment in which none or both run.
///
/// # Errors
/// As `BPF_LINK_UPDATE`; `ENOLINK` when what it was attached to is gone.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate { link: raw(link), program: raw(program), ..LinkUpdate::default() };
    // SAFETY: no pointer in it.
    unsafe { call(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches a link at once, whoever else holds it.
///
/// # Errors
/// As `BPF_LINK_DETACH`.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkDetach { link: raw(link) };
    // SAFETY: no pointer in it.
    unsafe { call(LINK_DETACH, &mut attr) }.map(drop)
}

/// What the kernel says of a link.
///
/// # Errors
/// As `BPF_OBJ_GET_INFO_BY_FD`.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfoRaw::default();
    let mut attr = Info {
        fd: raw(link),
        length: size_of::<LinkInfoRaw>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` outlives the call and is as long as `length` says.
    unsafe { call(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let target = if info.kind == LINK_TYPE_CGROUP {
        info.target
    } else {
        // The first 32 bits in memory, whatever the byte order.
        let [a, b, c, d, ..] = info.target.to_ne_bytes();
        u64::from(u32::from_ne_bytes([a, b, c, d]))
    };
    Ok(LinkInfo { id: info.id, program: info.program, target })
}

/// Ids of the programs attached directly at `target`, in the order they run.
///
/// # Errors
/// As `BPF_PROG_QUERY`.
pub(crate) fn attached_programs(target: Target<'_>, attach_type: AttachType) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; QUERY_LIMIT];
    let mut attr = Query {
        target: target.number(),
        attach_type: attach_type as u32,
        programs: ids.as_mut_ptr() as u64,
        count: QUERY_LIMIT as u32,
        ..Query::default()
    };
    // SAFETY: `ids` outlives the call and has room for `count` numbers.
    unsafe { call(PROG_QUERY, &mut attr) }?;
    Ok(ids.into_iter().take(attr.count as usize).collect())
}

/// A descriptor as a target.
pub(crate) fn target(fd: &impl AsFd) -> Target<'_> {
    Target::Fd(fd.as_fd())
}
