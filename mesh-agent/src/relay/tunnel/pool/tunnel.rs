//! One tunnel of the pool, and the shares that connections have in it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use mesh_api::SpiffeId;
use mesh_ebpf::abi::Reason;
use tokio::sync::Notify;

use super::IDLE;
use crate::relay::identity::Certificate;
use crate::relay::tunnel::closer::Closer;
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::session::{STREAMS, Session};
use crate::relay::tunnel::watched::Broken;

/// What h2 holds to be the peer's limit of streams before the peer has said one: no peer can say
/// this, so that it tells the two apart.
pub(super) const UNSAID: usize = usize::MAX - 1;
/// Streams on a tunnel whose peer has not said how many it takes, here or on a tunnel before.
pub(super) const BEFORE_SAID: u32 = 1;

/// A tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Gone once it takes no new streams.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<u32>,
    idle_since: Cell<Instant>,
    certificate: Arc<Certificate>,
    session: Rc<Session>,
    closer: Rc<Closer>,
    broken: Broken,
    /// How many streams it takes until the peer has said.
    before_said: u32,
    /// What the peer's SETTINGS said of streams, or why they never came.
    said: OnceCell<Result<(), Failure>>,
    heard: Notify,
}

impl Tunnel {
    /// One that is up, with no stream on it yet.
    pub(super) fn new(
        requests: SendRequest<Bytes>,
        certificate: Arc<Certificate>,
        session: Rc<Session>,
        closer: Rc<Closer>,
        broken: Broken,
        before_said: u32,
    ) -> Self {
        Self {
            requests: RefCell::new(Some(requests)),
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            certificate,
            session,
            closer,
            broken,
            before_said,
            said: OnceCell::new(),
            heard: Notify::new(),
        }
    }

    /// Takes no new streams; closes with the last.
    pub(super) fn retire(&self) {
        self.requests.borrow_mut().take();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.requests.borrow().is_none()
    }

    /// Whether it was made with this certificate.
    pub(super) fn shows(&self, certificate: &Arc<Certificate>) -> bool {
        Arc::ptr_eq(&self.certificate, certificate)
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn closer(&self) -> &Closer {
        &self.closer
    }

    pub(super) fn broken(&self) -> &Broken {
        &self.broken
    }

    /// How many streams the peer allows, of which it never gets more than [`STREAMS`]; `None` before it
    /// has said, and once the tunnel takes no new ones. It may change at any time.
    pub(super) fn allowed(&self) -> Option<u32> {
        match self.requests.borrow().as_ref()?.current_max_send_streams() {
            UNSAID => None,
            peers => Some(u32::try_from(peers).unwrap_or(STREAMS).min(STREAMS)),
        }
    }

    /// How many more streams it takes now.
    pub(super) fn free_streams(&self) -> u32 {
        let limit = if self.is_retired() { 0 } else { self.allowed().unwrap_or(self.before_said) };
        limit.saturating_sub(self.streams.get())
    }

    /// Notes what h2 holds to be the peer's limit.
    pub(super) fn hear(&self, limit: usize) {
        match limit {
            UNSAID => {}
            0 => {
                self.retire();
                let detail =
                    "the tunnel's other end allows no streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0)";
                self.settle(Err(Failure::new(Reason::PeerFailed, detail)));
            }
            _ => self.settle(Ok(())),
        }
    }

    /// Notes what came of it; the first stands.
    pub(super) fn settle(&self, said: Result<(), Failure>) {
        if self.said.set(said).is_ok() {
            self.heard.notify_waiters();
        }
    }

    /// What the peer said of streams, where it has.
    pub(super) fn settled(&self) -> Option<Result<(), Failure>> {
        self.said.get().cloned()
    }

    /// Waits until it has.
    pub(super) async fn settles(&self) -> Result<(), Failure> {
        loop {
            // One thread: nothing happens between the look and the wait.
            if let Some(said) = self.settled() {
                return said;
            }
            self.heard.notified().await;
        }
    }

    /// Waits until it has had no stream for a while.
    pub(super) async fn idle(&self) {
        loop {
            let since = self.idle_since.get();
            let wait = match self.streams.get() {
                0 => IDLE.saturating_sub(since.elapsed()),
                _ => IDLE,
            };
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// One stream's share of a tunnel.
#[derive(Debug)]
pub(crate) struct Lease {
    tunnel: Rc<Tunnel>,
    /// It was open before.
    pub reused: bool,
}

impl Lease {
    pub(super) fn of(tunnel: &Rc<Tunnel>, reused: bool) -> Self {
        tunnel.streams.set(tunnel.streams.get() + 1);
        Self { tunnel: Rc::clone(tunnel), reused }
    }

    /// Where requests go; `None` when it was retired meanwhile.
    pub(crate) fn requests(&self) -> Option<SendRequest<Bytes>> {
        self.tunnel.requests.borrow().clone()
    }

    /// Who answers.
    pub(crate) fn peer(&self) -> &Arc<SpiffeId> {
        &self.tunnel.session.id
    }

    /// What ends it from this side.
    pub(crate) fn closer(&self) -> &Rc<Closer> {
        &self.tunnel.closer
    }

    /// What broke it, where TLS or the socket did.
    pub(crate) fn broken(&self) -> &Broken {
        &self.tunnel.broken
    }

    /// Why its peer takes no stream at all, where that is so.
    pub(crate) fn turned_away(&self) -> Option<Failure> {
        self.tunnel.settled()?.err()
    }

    /// Keeps others from using a tunnel that just failed one.
    pub(crate) fn retire(&self) {
        self.tunnel.retire();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let left = self.tunnel.streams.get().saturating_sub(1);
        self.tunnel.streams.set(left);
        if left == 0 {
            self.tunnel.idle_since.set(Instant::now());
        }
    }
}
