//! What relay refuses before it is out of it: open files, and handshakes under way.
//!
//! The kernel gives out the lowest free descriptor, so a descriptor's number says how many are
//! open at least: comparing the newest with the limit is exact when it matters and costs nothing.
//! A connection that takes relay into the last [`HEAD_ROOM`]th of its descriptors is refused
//! politely, so that what is open, the control plane and metrics go on. Just before that,
//! where they are scarce, a pod that holds more than an equal share is refused: one pod may have
//! nearly all while others are quiet, and cannot starve them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// One part in so many of the open-file limit is kept free.
const HEAD_ROOM: u64 = 20;
/// One part in so many of what may be used is kept for pods that have little.
const SCARCE: u64 = 16;
/// Handshakes under way at once: of one pod in one direction in one worker.
const PER_POD: usize = 256;
/// Of one peer address with one worker, when it is the peer that connects.
const PER_PEER: usize = 64;
/// Of the whole relay.
const PER_RELAY: usize = 1024;

/// The open files relay may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    refuse_from: u64,
}

impl Files {
    /// Raises the limit of this process as far as it may, and takes that.
    pub(crate) fn of_process() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(error) => {
                tracing::warn!(%error, soft, hard, "the limit of open files stays at the soft one");
                soft
            }
        };
        Self::at_most(limit)
    }

    /// Takes a limit.
    pub(crate) fn at_most(limit: u64) -> Self {
        Self { refuse_from: limit - limit / HEAD_ROOM }
    }

    /// Whether a connection with this newest descriptor still has room.
    pub(crate) fn have_room(&self, newest: &impl AsFd) -> bool {
        number(newest) < self.refuse_from
    }

    /// Whether so few are left that they have to be shared.
    pub(crate) fn are_scarce(&self, newest: &impl AsFd) -> bool {
        number(newest) >= self.refuse_from - self.refuse_from / SCARCE
    }
}

fn number(descriptor: &impl AsFd) -> u64 {
    u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(u64::MAX)
}

/// Why a handshake may not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} TLS handshakes of {of} are under way already")]
pub(crate) struct TooManyHandshakes {
    count: usize,
    of: String,
}

/// Handshakes under way, as one worker counts them.
#[derive(Debug)]
pub(crate) struct Handshakes {
    relay: Arc<AtomicUsize>,
    pods: Rc<Tally<Arc<str>>>,
    peers: Rc<Tally<std::net::IpAddr>>,
}

impl Handshakes {
    /// `relay` is shared by every worker.
    pub(crate) fn new(relay: Arc<AtomicUsize>) -> Self {
        Self { relay, pods: Rc::default(), peers: Rc::default() }
    }

    /// Begins one of a pod; with the address of the peer when it is the peer that connects.
    ///
    /// # Errors
    /// When too many are under way.
    pub(crate) fn begin(
        &self,
        pod: &Arc<str>,
        peer: Option<std::net::IpAddr>,
    ) -> Result<Handshake, TooManyHandshakes> {
        let peer = match peer {
            Some(peer) => Some(
                Tally::count(&self.peers, peer, PER_PEER)
                    .ok_or_else(|| TooManyHandshakes { count: PER_PEER, of: format!("peer {peer}") })?,
            ),
            None => None,
        };
        let pod = Tally::count(&self.pods, Arc::clone(pod), PER_POD)
            .ok_or_else(|| TooManyHandshakes { count: PER_POD, of: format!("pod {pod}") })?;
        let handshake = Handshake { relay: Arc::clone(&self.relay), _pod: pod, _peer: peer };
        if handshake.relay.fetch_add(1, Ordering::Relaxed) >= PER_RELAY {
            return Err(TooManyHandshakes { count: PER_RELAY, of: "this relay".to_owned() });
        }
        Ok(handshake)
    }
}

/// One handshake under way.
#[derive(Debug)]
pub(crate) struct Handshake {
    relay: Arc<AtomicUsize>,
    _pod: Counted<Arc<str>>,
    _peer: Option<Counted<std::net::IpAddr>>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.relay.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many there are of each; what there is none of is not held.
#[derive(Debug)]
struct Tally<K>(RefCell<HashMap<K, usize>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    fn count(tally: &Rc<Self>, of: K, limit: usize) -> Option<Counted<K>> {
        let mut counts = tally.0.borrow_mut();
        let count = counts.entry(of.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Counted { tally: Rc::clone(tally), of })
    }
}

#[derive(Debug)]
struct Counted<K: Eq + Hash + Clone> {
    tally: Rc<Tally<K>>,
    of: K,
}

impl<K: Eq + Hash + Clone> Drop for Counted<K> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.tally.0.borrow_mut().entry(self.of.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Files, Handshakes, PER_PEER, PER_POD};
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_last_descriptors_are_kept() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Files::at_most(100_000).have_room(&socket));
        assert!(!Files::at_most(2).have_room(&socket));
        assert!(Files::at_most(2).are_scarce(&socket) && !Files::at_most(100_000).are_scarce(&socket));
    }

    #[test]
    fn one_peer_or_pod_leaves_room_for_others() {
        let relay = Arc::new(AtomicUsize::new(0));
        let handshakes = Handshakes::new(Arc::clone(&relay));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let peer = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let mut held: Vec<_> = (0..PER_PEER).map(|_| handshakes.begin(&a, peer(1)).unwrap()).collect();
        assert!(handshakes.begin(&a, peer(1)).is_err());
        held.extend((PER_PEER..PER_POD).map(|_| handshakes.begin(&a, None).unwrap()));
        assert!(handshakes.begin(&a, peer(2)).unwrap_err().to_string().contains("pod a"));
        drop(handshakes.begin(&b, peer(2)).unwrap());
        assert_eq!(relay.load(Ordering::Relaxed), PER_POD);
        drop(held);
        assert_eq!(relay.load(Ordering::Relaxed), 0);
        assert!(handshakes.pods.0.borrow().is_empty() && handshakes.peers.0.borrow().is_empty());
    }
}
