//! Connections to endpoints, kept for the next request.
//!
//! A connection belongs to a scope: what is made in one pod's name is never another's, and what shows
//! a client's own address to a server never carries another client's request. HTTP/1.1 carries one
//! request at a time, so a scope has as many connections as it has requests under way; the latest
//! that rests is taken first, so that those that are not needed grow old. HTTP/2 has one connection
//! until its streams do not suffice; who waits for it shares what becomes of it.
//!
//! A connection leaves by the server's word (`Connection: close`, GOAWAY, its end), after it has
//! rested too long, or when anything went wrong on it.

pub(crate) mod http1;
pub(crate) mod http2;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::Io;
use super::decide::{DialFailure, Kind};
use super::limits::Limits;

/// How often connections that rest are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// Which connections a request may use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// In whose name they are made.
    pub scope: Arc<str>,
    /// Where they lead.
    pub endpoint: SocketAddr,
    /// By which way.
    pub kind: Kind,
}

/// A way to make a connection.
pub(crate) type Dialling = LocalBoxFuture<'static, Result<Io, DialFailure>>;
type Opening = Shared<LocalBoxFuture<'static, Result<Rc<http2::Connection>, DialFailure>>>;

/// Connections.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: RefCell<HashMap<Key, Slot>>,
    swept: Cell<bool>,
    /// Keeps nothing.
    retired: Cell<bool>,
    limits: Arc<Limits>,
    own: Weak<Self>,
}

#[derive(Default)]
struct Slot {
    resting: Vec<Resting>,
    /// HTTP/1.1 connections that carry a request.
    busy: usize,
    shared: Vec<Rc<http2::Connection>>,
    opening: Option<Opening>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resting, busy, shared, .. } = self;
        write!(formatter, "{} resting, {busy} busy, {} shared", resting.len(), shared.len())
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.resting.is_empty() && self.busy == 0 && self.shared.is_empty() && self.opening.is_none()
    }
}

struct Resting {
    connection: Box<http1::Connection>,
    since: Instant,
}

impl Pool {
    /// An empty one.
    pub(crate) fn new(limits: Arc<Limits>) -> Rc<Self> {
        Rc::new_cyclic(|own| Self {
            slots: RefCell::default(),
            swept: Cell::default(),
            retired: Cell::default(),
            limits,
            own: own.clone(),
        })
    }

    /// A connection of HTTP/1.1.
    ///
    /// # Errors
    /// When none rests and none can be made.
    pub(crate) async fn http1(
        &self,
        key: &Key,
        dial: impl FnOnce() -> Dialling,
    ) -> Result<http1::Lease, DialFailure> {
        let lease = |connection, reused| http1::Lease::new(connection, self.own.clone(), key.clone(), reused);
        {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.entry(key.clone()).or_default();
            while let Some(mut resting) = slot.resting.pop() {
                if resting.connection.is_open() {
                    slot.busy += 1;
                    return Ok(lease(resting.connection, true));
                }
                resting.connection.end();
            }
            if slot.busy >= self.limits.http1_per_endpoint {
                return Err(overflow(key, slot.busy));
            }
            slot.busy += 1;
        }
        // Counted from here on, also when this future is dropped.
        let place = Place { pool: self, key };
        let stream = within(self.limits.connect_within, dial()).await?;
        std::mem::forget(place);
        Ok(lease(Box::new(http1::Connection::new(stream)), false))
    }

    /// Takes a connection back after its request; `None` when it is not to be used again.
    pub(crate) fn give_back(&self, key: &Key, connection: Option<Box<http1::Connection>>) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key) else { return };
        slot.busy = slot.busy.saturating_sub(1);
        let connection = connection.and_then(|mut connection| {
            if self.retired.get() {
                connection.end();
                return None;
            }
            Some(connection)
        });
        let kept = connection.is_some();
        slot.resting.extend(connection.map(|connection| Resting { connection, since: Instant::now() }));
        if slot.is_empty() {
            slots.remove(key);
        }
        drop(slots);
        if kept {
            self.sweep();
        }
    }

    /// A stream's share of a connection of HTTP/2.
    ///
    /// # Errors
    /// When none has room and none can be made.
    pub(crate) async fn http2(
        &self,
        key: &Key,
        dial: impl Fn() -> Dialling,
    ) -> Result<http2::Lease, DialFailure> {
        loop {
            let opening = {
                let mut slots = self.slots.borrow_mut();
                let slot = slots.entry(key.clone()).or_default();
                slot.shared.retain(|connection| !connection.is_retired());
                if let Some(connection) = slot.shared.iter().find(|connection| connection.free() > 0) {
                    return Ok(http2::Lease::new(Rc::clone(connection)));
                }
                match &slot.opening {
                    Some(opening) => opening.clone(),
                    None if slot.shared.len() >= self.limits.http2_per_endpoint => {
                        return Err(overflow(key, slot.shared.len()));
                    }
                    None => slot.opening.insert(self.open(key.clone(), dial())).clone(),
                }
            };
            let opened = opening.await?;
            // Those who waited for it take from the same: none is left without a look.
            if opened.free() > 0 {
                return Ok(http2::Lease::new(opened));
            }
        }
    }

    fn open(&self, key: Key, dialling: Dialling) -> Opening {
        let (own, limits) = (self.own.clone(), Arc::clone(&self.limits));
        // A task of its own: that whoever asked first gives up is nothing to the others.
        let opening = spawn_local(async move {
            let opened = async {
                let stream = within(limits.connect_within, dialling).await?;
                http2::Connection::open(stream, &limits).await
            };
            let opened = opened.await;
            if let Some(pool) = own.upgrade() {
                let mut slots = pool.slots.borrow_mut();
                let slot = slots.entry(key.clone()).or_default();
                slot.opening = None;
                slot.shared.extend(opened.as_ref().ok().cloned());
                if slot.is_empty() {
                    slots.remove(&key);
                }
                drop(slots);
                pool.sweep();
            }
            opened
        });
        let ended = DialFailure { detail: "relay is ending".to_owned(), exhausted: false };
        opening.map(|joined| joined.unwrap_or(Err(ended))).boxed_local().shared()
    }

    /// Looks after what rests, for as long as anything does.
    fn sweep(&self) {
        if self.swept.replace(true) {
            return;
        }
        let own = self.own.clone();
        spawn_local(async move {
            loop {
                sleep(SWEEP).await;
                let Some(pool) = own.upgrade() else { return };
                if pool.sweep_once() {
                    pool.swept.set(false);
                    return;
                }
            }
        });
    }

    /// Closes what has rested too long or was closed by its server; whether nothing is left to look
    /// after.
    fn sweep_once(&self) -> bool {
        let most = self.limits.idle_upstream;
        let mut slots = self.slots.borrow_mut();
        slots.retain(|_, slot| {
            slot.resting.retain_mut(|resting| {
                let within = resting.connection.rests_within().unwrap_or(most).min(most);
                let stays = resting.since.elapsed() < within && resting.connection.is_open();
                if !stays {
                    resting.connection.end();
                }
                stays
            });
            slot.shared.retain(|connection| {
                if connection.is_idle(most) {
                    connection.retire();
                }
                !connection.is_retired()
            });
            !slot.is_empty()
        });
        slots.values().all(|slot| slot.resting.is_empty() && slot.shared.is_empty())
    }

    /// Keeps nothing any more: relay is ending.
    pub(crate) fn retire_all(&self) {
        self.retired.set(true);
        for slot in self.slots.borrow_mut().values_mut() {
            slot.resting.drain(..).for_each(|mut resting| resting.connection.end());
            slot.shared.iter().for_each(|connection| connection.retire());
        }
    }

    /// Connections that rest, and shared ones.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        let slots = self.slots.borrow();
        slots.values().fold((0, 0), |(resting, shared), slot| {
            (resting + slot.resting.len(), shared + slot.shared.len())
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What rests has nothing to say, and ends in order.
        let slots = self.slots.get_mut().values_mut();
        slots.flat_map(|slot| slot.resting.drain(..)).for_each(|mut resting| resting.connection.end());
    }
}

/// A place among the busy, until the connection is made.
struct Place<'a> {
    pool: &'a Pool,
    key: &'a Key,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.give_back(self.key, None);
    }
}

async fn within(most: Duration, dialling: Dialling) -> Result<Io, DialFailure> {
    timeout(most, dialling).await.unwrap_or_else(|_| {
        let detail = format!("no connection within {} seconds", most.as_secs());
        Err(DialFailure { detail, exhausted: false })
    })
}

fn overflow(key: &Key, connections: usize) -> DialFailure {
    let detail = format!("{connections} connections to {} carry all that they can", key.endpoint);
    DialFailure { detail, exhausted: true }
}
