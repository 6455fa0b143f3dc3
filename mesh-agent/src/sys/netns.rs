//! Network namespaces: opening one, naming it, working inside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// An open network namespace. It keeps the namespace alive: hold one only for one piece of work.
#[derive(Debug)]
pub(crate) struct Netns(File);

/// `SO_NETNS_COOKIE`, since 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;
/// `NS_GET_ID`, since 6.18: gives a network namespace's cookie without entering it.
const NS_GET_ID: libc::Ioctl = 0x8008_b70d;

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(crate) fn current() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    /// The namespace of a process.
    ///
    /// # Errors
    /// When the process is gone or may not be inspected.
    pub(crate) fn of_process(pid: u32) -> io::Result<Self> {
        File::open(Path::new("/proc").join(pid.to_string()).join("ns/net")).map(Self)
    }

    /// The cookie that names it for as long as the kernel runs; unlike its inode it is never used
    /// again.
    ///
    /// # Errors
    /// When neither way of asking works.
    pub(crate) fn cookie(&self) -> io::Result<u64> {
        match self.id() {
            Ok(cookie) => Ok(cookie),
            Err(_) => self.within(own_cookie)?,
        }
    }

    /// [`Netns::cookie`] by `NS_GET_ID`.
    ///
    /// # Errors
    /// `ENOTTY` before 6.18.
    pub(crate) fn id(&self) -> io::Result<u64> {
        let mut id = 0u64;
        // SAFETY: the ioctl writes one u64 to the pointer, which is live for the call.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), NS_GET_ID, &raw mut id) };
        super::checked(result.into()).map(|_| id)
    }

    /// Runs `work` on a thread of its own inside the namespace; sockets it makes stay there.
    ///
    /// # Errors
    /// When the thread cannot be made or may not enter.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs `work` on a thread of its own in a new, empty network namespace.
///
/// # Errors
/// When the thread or the namespace cannot be made.
pub(crate) fn within_new<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
}

/// A namespace is a property of a thread: the thread that changes it ends with the work, so no
/// other work ever runs in the wrong one.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)?
            .join()
            .map_err(|_| io::Error::other("the thread inside the network namespace panicked"))?
    })
}

fn own_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind("[::]:0").or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option writes at most `length` bytes to `cookie`; both are live for the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    super::checked(result.into()).map(|_| cookie)
}

#[cfg(test)]
mod tests {
    use super::{Netns, own_cookie};

    #[test]
    fn both_ways_of_naming_a_namespace_agree() {
        let here = Netns::current().unwrap();
        let inside = here.within(own_cookie).unwrap().unwrap();
        assert_eq!(here.cookie().unwrap(), inside);
        assert_ne!(inside, 0);
    }
}
