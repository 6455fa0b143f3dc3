//! The agent's two listeners inside each wired pod (SEMANTICS 7.1, 7.2): one takes what leaves the
//! pod for the tunnel, the other takes tunnels that come in.
//!
//! They are bound to loopback at whatever port is free, since nobody is to dial them: the gate
//! hands connections to them by reference, out of `mesh_listeners`. wire makes them, because only
//! wire may enter a pod's namespace, and keeps them, so that connections wait in their queues
//! while relay restarts. relay gets copies (see [`super::supply`]).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_ebpf::abi::ListenerKey;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, Socket, Type};

use super::redirect_route;
use crate::sys::clock;
use crate::sys::netns::Netns;

/// Connections that may wait in one of them, where the namespace's `somaxconn` allows as many.
const BACKLOG: i32 = 4096;

/// The listeners of one pod.
#[derive(Debug)]
pub(super) struct Pair {
    outbound: OwnedFd,
    tunnel: OwnedFd,
}

impl Pair {
    /// Makes them inside a pod's namespace, and the addresses of redirection local to it.
    ///
    /// # Errors
    /// When the namespace is gone, has no loopback yet, or wire is out of descriptors.
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        netns.within(|| {
            let (outbound, v6) = listen()?;
            let (tunnel, _) = listen()?;
            if v6 {
                redirect_route::ensure()?;
            }
            Ok(Self { outbound, tunnel })
        })?
    }

    /// Of two listening sockets.
    #[cfg(test)]
    pub(super) fn of(outbound: OwnedFd, tunnel: OwnedFd) -> Self {
        Self { outbound, tunnel }
    }

    /// In the order in which relay gets them: outbound, tunnel.
    pub(super) fn both(&self) -> [BorrowedFd<'_>; 2] {
        [self.outbound.as_fd(), self.tunnel.as_fd()]
    }

    /// With the keys under which the gate finds them.
    pub(super) fn keyed(&self, netns: u64) -> [(ListenerKey, BorrowedFd<'_>); 2] {
        let [outbound, tunnel] = keys(netns);
        [(outbound, self.outbound.as_fd()), (tunnel, self.tunnel.as_fd())]
    }
}

/// The keys of a namespace's listeners in `mesh_listeners`: outbound, tunnel.
pub(super) fn keys(netns: u64) -> [ListenerKey; 2] {
    [ListenerKey::OUTBOUND, ListenerKey::INBOUND].map(|role| ListenerKey { netns, role, reserved: 0 })
}

/// A listener of both families, or of IPv4 where the kernel has no IPv6; and which it is.
///
/// The address is a v4-mapped one: to bind a socket to any other of IPv6 but `::` makes it refuse
/// IPv4 (`inet6_bind` sets `sk_ipv6only`), and `::1` is there only once the loopback is up.
fn listen() -> io::Result<(OwnedFd, bool)> {
    match listen_at((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0).into()) {
        Ok(socket) => Ok((socket, true)),
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            listen_at((Ipv4Addr::LOCALHOST, 0).into()).map(|socket| (socket, false))
        }
        Err(error) => Err(error),
    }
}

fn listen_at(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // What it accepts has the port that was dialled, 15008 for one: inherited from here, this lets
    // the application bind that port too.
    socket.set_reuse_address(true)?;
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&address.into())?;
    if address.is_ipv6() {
        // Binding to an IPv6 address has made it IPv6 only (`__inet6_bind`), which can be undone
        // until the socket has a port: `listen` gives it one.
        socket.set_only_v6(false)?;
    }
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What is kept of one pod's.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// UID hash of the pod.
    pub(super) uid: u64,
    /// Cookie of its namespace.
    pub(super) netns: u64,
    /// The sockets.
    pub(super) pair: Arc<Pair>,
    /// When they were made, monotonic: tells them from others of the same pod.
    pub(super) made_at: u64,
}

/// All that are kept, by the cookie of their namespace; at most two a pod, and as many pods as
/// `mesh_pods` holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Listeners(Arc<Mutex<BTreeMap<u64, Kept>>>);

impl Listeners {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps those of a pod.
    pub(super) fn keep(&self, netns: u64, uid: u64, pair: Pair) {
        let kept = Kept { uid, netns, pair: Arc::new(pair), made_at: clock::monotonic() };
        self.kept().insert(netns, kept);
    }

    /// Closes wire's copies of those in a namespace.
    pub(super) fn close(&self, netns: u64) {
        self.kept().remove(&netns);
    }

    /// Those of a pod, the newest if it has moved between namespaces.
    pub(super) fn of(&self, uid: u64) -> Option<Kept> {
        self.kept().values().filter(|kept| kept.uid == uid).max_by_key(|kept| kept.made_at).cloned()
    }

    /// Those in a namespace.
    pub(super) fn in_namespace(&self, netns: u64) -> Option<Kept> {
        self.kept().get(&netns).cloned()
    }

    /// Closes wire's copies of all.
    pub(super) fn close_all(&self) {
        self.kept().clear();
    }

    /// When those in a namespace were made; 0 where there are none.
    pub(super) fn made_at(&self, netns: u64) -> u64 {
        self.kept().get(&netns).map_or(0, |kept| kept.made_at)
    }
}

#[cfg(test)]
mod tests {
    use super::{Listeners, Pair};
    use crate::sys::netns::{Netns, within_new};
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    fn run(words: &[&str]) {
        assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success(), "{words:?}");
    }

    /// Needs root: makes a network namespace.
    #[test]
    fn they_listen_on_loopback_and_the_addresses_of_redirection_become_local() {
        let done = within_new(|| {
            let netns = Netns::current().unwrap();
            let without = Pair::open(&netns).unwrap_err();
            assert_eq!(without.raw_os_error(), Some(libc::ENETDOWN), "retried once the loopback is up");
            run(&["ip", "link", "set", "lo", "up"]);
            let pair = Pair::open(&netns).unwrap();
            for listener in pair.both() {
                let listener = TcpListener::from(listener.try_clone_to_owned().unwrap());
                let address = listener.local_addr().unwrap();
                assert!(address.ip().to_canonical().is_loopback(), "{address}");
                TcpStream::connect(address).unwrap();
                listener.accept().unwrap();
                assert!(!socket2::SockRef::from(&listener).only_v6().unwrap(), "it takes IPv4 as well");
                let waiting = listener.accept().unwrap_err();
                assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
            }
            let routes = Command::new("ip").args(["-6", "route", "show", "table", "local"]).output().unwrap();
            let routes = String::from_utf8(routes.stdout).unwrap();
            assert!(routes.contains("fdc7:3ab1:5e20::/64 dev lo"), "{routes}");
            // Once more, as after a restart: the route is there already.
            drop(Pair::open(&netns).unwrap());
        });
        done.expect("this test needs root: it makes a network namespace");
    }

    /// Needs root: makes a network namespace.
    #[test]
    fn a_namespace_with_ipv6_switched_off_has_them_too() {
        let done = within_new(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
            run(&["ip", "link", "set", "lo", "up"]);
            drop(Pair::open(&Netns::current().unwrap()).unwrap());
        });
        done.expect("this test needs root: it makes a network namespace");
    }

    #[test]
    fn a_pod_that_moved_is_given_those_of_its_new_namespace() {
        let pair = || {
            let one = || TcpListener::bind("127.0.0.1:0").unwrap().into();
            Pair::of(one(), one())
        };
        let listeners = Listeners::default();
        listeners.keep(10, 1, pair());
        listeners.keep(11, 1, pair());
        listeners.keep(12, 2, pair());
        assert_eq!(listeners.of(1).unwrap().netns, 11);
        assert_ne!(listeners.made_at(10), listeners.made_at(11));
        listeners.close(11);
        assert_eq!(listeners.of(1).unwrap().netns, 10);
        assert_eq!(listeners.made_at(11), 0);
        assert!(listeners.of(3).is_none());
    }
}
