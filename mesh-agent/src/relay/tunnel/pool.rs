//! Tunnels that a worker's pods have open, shared by the connections that may share them.
//!
//! A tunnel ([`Tunnel`]) belongs to one source pod (its namespace, its identity, its address), one
//! destination and the names expected there. A connection takes the first tunnel with a free
//! stream, and waits for a new one where there is none; one is opened at a time ([`mod@opening`]), and
//! all who wait share what becomes of it.
//!
//! How many streams a tunnel takes is the peer's to say, in its SETTINGS (RFC 9113, 5.1.2). They
//! come a round trip after the handshake: until then a tunnel takes one, which costs the first
//! connection nothing, and the others wait to hear whether it takes them, too. Those it does not
//! take get another tunnel, which is held to take as many as the one before.
//!
//! A tunnel takes no new streams once its own certificate has been replaced or the peer's is about
//! to end; with its last stream it closes. Idle tunnels close after [`IDLE`].

mod opening;
mod tunnel;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use mesh_api::SpiffeId;
use mesh_ebpf::abi::{Reason, TUNNEL_PORT};
use tokio::time::timeout;

use super::Worker;
use super::failure::Failure;
use super::session::HANDSHAKE_WITHIN;
use super::sockets::Sockets;
use crate::relay::identity::Certificate;
pub(crate) use tunnel::Lease;
use tunnel::{BEFORE_SAID, Tunnel};

/// How long a tunnel without streams is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Tunnels of one key.
const PER_KEY: usize = 512;
/// How long a connection waits for a stream of a peer that allows few on each tunnel.
const STREAM_WITHIN: Duration = Duration::from_secs(15);

/// Which connections may share a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// UID of the source pod.
    pub pod: Arc<str>,
    /// Address of the destination.
    pub destination: IpAddr,
    /// The names that may be proven there.
    pub expected: Arc<BTreeSet<SpiffeId>>,
}

impl Key {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.destination, TUNNEL_PORT)
    }
}

type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Tunnel>, Failure>>>;

/// The tunnels of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<HashMap<Key, Slot>>);

#[derive(Debug, Default)]
struct Slot {
    tunnels: Vec<Rc<Tunnel>>,
    opening: Option<Opening>,
}

impl Pool {
    /// A tunnel of `key` with a free stream, which shows `certificate`.
    fn ready(&self, key: &Key, certificate: &Arc<Certificate>) -> Option<Rc<Tunnel>> {
        let mut slots = self.0.borrow_mut();
        let slot = slots.get_mut(key)?;
        slot.tunnels.retain(|tunnel| {
            if !tunnel.shows(certificate) || tunnel.session().is_leaving() {
                tunnel.retire();
            }
            !tunnel.is_retired()
        });
        slot.tunnels.iter().find(|tunnel| tunnel.free_streams() > 0).cloned()
    }

    /// A tunnel of `key` whose peer has not said yet how many streams it takes.
    fn unsettled(&self, key: &Key) -> Option<Rc<Tunnel>> {
        let slots = self.0.borrow();
        slots.get(key)?.tunnels.iter().find(|tunnel| tunnel.settled().is_none()).cloned()
    }

    /// How many streams a new tunnel of `key` takes before its peer has said so: what it allows on
    /// those it has.
    fn before_said(&self, key: &Key) -> u32 {
        let slots = self.0.borrow();
        let tunnels = slots.get(key).into_iter().flat_map(|slot| &slot.tunnels);
        tunnels.filter_map(|tunnel| tunnel.allowed()).min().unwrap_or(BEFORE_SAID).max(BEFORE_SAID)
    }

    fn put(&self, key: &Key, tunnel: Rc<Tunnel>) {
        self.0.borrow_mut().entry(key.clone()).or_default().tunnels.push(tunnel);
    }

    fn remove(&self, key: &Key, tunnel: &Rc<Tunnel>) {
        let mut slots = self.0.borrow_mut();
        let Some(slot) = slots.get_mut(key) else { return };
        slot.tunnels.retain(|known| !Rc::ptr_eq(known, tunnel));
        if slot.tunnels.is_empty() && slot.opening.is_none() {
            slots.remove(key);
        }
    }

    /// Takes no new streams on any: relay is ending.
    pub(crate) fn retire_all(&self) {
        for slot in self.0.borrow().values() {
            slot.tunnels.iter().for_each(|tunnel| tunnel.retire());
        }
    }

    /// Tunnels that are up.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().values().map(|slot| slot.tunnels.len()).sum()
    }
}

/// A share of a tunnel of `key`, an open one or a new one.
///
/// # Errors
/// When none is open and none can be.
pub(crate) async fn acquire<S: Sockets>(
    worker: &Rc<Worker<S>>,
    key: &Key,
    certificate: &Arc<Certificate>,
) -> Result<Lease, Failure> {
    let counts = worker.reporter.counts();
    if let Some(tunnel) = worker.pool.ready(key, certificate) {
        counts.pool_hits.fetch_add(1, Ordering::Relaxed);
        return Ok(Lease::of(&tunnel, true));
    }
    counts.pool_misses.fetch_add(1, Ordering::Relaxed);
    timeout(STREAM_WITHIN, wait(worker, key, certificate)).await.unwrap_or_else(|_| {
        let within = STREAM_WITHIN.as_secs();
        let detail = format!(
            "tunnel to {}: no free stream within {within} seconds; the peer allows few streams on a tunnel and many connections wait for one",
            key.address()
        );
        Err(Failure::new(Reason::PeerFailed, detail))
    })
}

async fn wait<S: Sockets>(
    worker: &Rc<Worker<S>>,
    key: &Key,
    certificate: &Arc<Certificate>,
) -> Result<Lease, Failure> {
    loop {
        match worker.pool.unsettled(key) {
            Some(tunnel) => hear(&tunnel, key).await?,
            None => {
                let tunnel = opening(worker, key, certificate)?.await?;
                if let Some(said) = tunnel.settled() {
                    said?;
                }
            }
        }
        // Who waited longest comes first; there may be more of them than streams.
        if let Some(tunnel) = worker.pool.ready(key, certificate) {
            return Ok(Lease::of(&tunnel, false));
        }
    }
}

/// Waits until the peer has said how many streams it takes.
async fn hear(tunnel: &Tunnel, key: &Key) -> Result<(), Failure> {
    timeout(HANDSHAKE_WITHIN, tunnel.settles()).await.unwrap_or_else(|_| {
        tunnel.retire();
        let within = HANDSHAKE_WITHIN.as_secs();
        let detail = format!("tunnel to {}: HTTP/2: no SETTINGS within {within} seconds", key.address());
        Err(Failure::new(Reason::PeerNotHbone, detail))
    })
}

/// The tunnel that is being opened, by now at the latest.
fn opening<S: Sockets>(
    worker: &Rc<Worker<S>>,
    key: &Key,
    certificate: &Arc<Certificate>,
) -> Result<Opening, Failure> {
    let mut slots = worker.pool.0.borrow_mut();
    let slot = slots.entry(key.clone()).or_default();
    if slot.opening.is_none() && slot.tunnels.len() >= PER_KEY {
        return Err(Failure::new(
            Reason::RelayExhausted,
            format!("{PER_KEY} tunnels to {} are in use already", key.address()),
        ));
    }
    Ok(slot.opening.get_or_insert_with(|| start(worker, key, certificate)).clone())
}

/// Opens a tunnel in a task of its own: who asked first may give up, others wait for it too.
fn start<S: Sockets>(worker: &Rc<Worker<S>>, key: &Key, certificate: &Arc<Certificate>) -> Opening {
    let (worker, key, certificate) = (Rc::clone(worker), key.clone(), Arc::clone(certificate));
    let task = tokio::task::spawn_local(async move {
        let opened = opening::open(&worker, &key, certificate).await;
        let mut slots = worker.pool.0.borrow_mut();
        if let Some(slot) = slots.get_mut(&key) {
            slot.opening = None;
            if slot.tunnels.is_empty() {
                slots.remove(&key);
            }
        }
        opened
    });
    async move { task.await.unwrap_or_else(|_| Err(Failure::new(Reason::Draining, "relay is ending"))) }
        .boxed_local()
        .shared()
}
