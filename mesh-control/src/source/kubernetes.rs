//! Objects of a Kubernetes cluster (`--source kubernetes`): its API server, watched.
//!
//! Every [`kind`] has a task that [`follow`]s it: [`cursor`] decides what to ask and how long to
//! wait, [`lines`] and [`event`] make events of what comes, and [`state`] decides what an event means
//! to the model. One object that cannot be read is told under its name and holds up nothing. While
//! the API server is away everything stays as it was; when it is back each kind goes on from the
//! version that it had reached, once [`readiness`] says so.
//!
//! The thread that builds sees none of that: it waits on [`Kubernetes`] as on a watched directory.

mod chance;
mod connect;
mod cursor;
mod event;
mod follow;
mod hub;
mod kind;
mod lines;
mod model;
mod readiness;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use kube::Client;
use tokio::sync::watch;

pub(crate) use chance::random;
pub(crate) use connect::told;
pub use connect::{ConnectError, connect};
pub(crate) use cursor::wait;
use hub::Hub;

use super::{Snapshot, Source, SourceError};
use crate::objects::{ObjectRef, Objects, Observed, Parents, RouteName};

/// Events that come this close together are one change.
const QUIET: Duration = Duration::from_millis(15);
/// A change is not held back longer than this, however many follow.
const HELD_BACK: Duration = Duration::from_millis(120);

/// The watched API server, for the thread that builds.
#[derive(Debug)]
pub struct Kubernetes {
    hub: Arc<Hub>,
    events: Receiver<()>,
}

/// What was seen at the API server, for those who write there.
#[derive(Debug, Clone)]
pub struct Seen {
    hub: Arc<Hub>,
}

impl Kubernetes {
    /// Begins to follow every kind, on the current runtime.
    #[must_use]
    pub fn start(client: &Client) -> (Self, Seen) {
        let (hub, events) = Hub::new();
        let hub = Arc::new(hub);
        for kind in kind::Kind::ALL {
            tokio::spawn(follow::follow(kind, client.clone(), hub.clone()));
        }
        (Self { hub: hub.clone(), events }, Seen { hub })
    }
}

/// Where the API server has objects like this one, if it is of one of our kinds.
pub(crate) fn path_of(object: &ObjectRef) -> Option<String> {
    let mut kinds = kind::Kind::ALL.into_iter().filter(|kind| kind.has_conditions());
    let kind = kinds.find(|kind| kind.name() == object.kind);
    let namespace = Some(object.name.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    kind.filter(|kind| kind.api_version() == object.api_version).map(|kind| kind.path(namespace))
}

impl Source for Kubernetes {
    fn now(&mut self) -> Result<Option<Snapshot>, SourceError> {
        self.hub.lock().take()
    }

    fn changed(&mut self) -> Result<Option<Snapshot>, SourceError> {
        // The hub, which this holds, has the other end.
        if self.events.recv().is_ok() {
            let began = Instant::now();
            while began.elapsed() < HELD_BACK
                && self.events.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout)
            {}
        }
        self.now()
    }
}

impl Seen {
    /// Every object of ours that is there, with what its status has.
    pub(crate) fn observed(&self) -> BTreeMap<ObjectRef, Observed> {
        self.hub.lock().statuses().clone()
    }

    /// Every route that is there, with what its status says of its parents.
    pub(crate) fn parents(&self) -> BTreeMap<RouteName, Parents> {
        self.hub.lock().parents().clone()
    }

    /// This was written; the watch will bring it as well, a little later.
    pub(crate) fn wrote_parents(&self, route: RouteName, parents: Parents) {
        self.hub.wrote(|state| state.saw_parents(route, parents));
    }

    /// Where the API server has routes like this one.
    pub(crate) fn path_of_route(&self, route: &RouteName) -> String {
        self.hub.lock().path(kind::Kind::Route(route.kind), Some(&route.name.namespace))
    }

    /// Looks at the objects that the model is built from.
    pub(crate) fn with_objects<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(self.hub.lock().objects())
    }

    /// Counts up whenever one changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.hub.status_changes()
    }

    /// This was written; the watch will bring it as well, a little later.
    pub(crate) fn wrote(&self, object: &ObjectRef, status: Observed) {
        self.hub.wrote(|state| state.saw_status(object, status));
    }
}
