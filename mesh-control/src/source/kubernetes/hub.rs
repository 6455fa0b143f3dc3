//! Where the tasks that follow the kinds meet: the state, and who waits for it to change.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use tokio::sync::watch;

use super::{
    kind::Kind,
    readiness::Readiness,
    state::{State, Want},
};

/// The state and its waiters.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// One pending wake-up is as good as many: whoever wakes looks at everything.
    wake: SyncSender<()>,
    wants: BTreeMap<Kind, watch::Sender<Want>>,
    statuses: watch::Sender<u64>,
    /// The API server streams lists, as far as is known.
    streaming: AtomicBool,
    /// Whether it is ready again, for those that it failed.
    pub(super) readiness: Readiness,
}

impl Hub {
    /// A hub, and where its wake-ups arrive.
    pub(super) fn new() -> (Self, Receiver<()>) {
        let (wake, events) = sync_channel(1);
        let state = State::default();
        let wants = Kind::ALL.into_iter().map(|kind| (kind, watch::Sender::new(state.want(kind))));
        let hub = Self {
            wants: wants.collect(),
            state: Mutex::new(state),
            wake,
            statuses: watch::Sender::new(0),
            streaming: AtomicBool::new(true),
            readiness: Readiness::default(),
        };
        (hub, events)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state on behalf of a kind, and wakes whom that concerns.
    pub(super) fn apply(&self, kind: Kind, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let news = state.take_news();
        // What is to be followed of others depends on these alone.
        if matches!(kind, Kind::Definition | Kind::MeshConfig) {
            for (kind, want) in &self.wants {
                let wanted = state.want(*kind);
                want.send_if_modified(|last| {
                    let changed = *last != wanted;
                    *last = wanted;
                    changed
                });
            }
        }
        drop(state);
        if news.model {
            // A full channel already holds the wake-up.
            let _ = self.wake.try_send(());
        }
        if news.status {
            self.statuses.send_modify(|changes| *changes += 1);
        }
    }

    /// What is to be followed of a kind.
    pub(super) fn want(&self, kind: Kind) -> Option<watch::Receiver<Want>> {
        self.wants.get(&kind).map(watch::Sender::subscribe)
    }

    pub(super) fn streams(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// The API server does not stream lists.
    pub(super) fn does_not_stream(&self) {
        if self.streaming.swap(false, Ordering::Relaxed) {
            tracing::info!("the API server does not stream lists; reading them page by page");
        }
    }

    pub(super) fn status_changes(&self) -> watch::Receiver<u64> {
        self.statuses.subscribe()
    }

    /// Whoever wrote knows: nobody is woken.
    pub(super) fn wrote(&self, saw: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.take_news();
        saw(&mut state);
        state.take_news();
        drop(state);
        debug_assert_eq!(before, super::state::News::default(), "news are taken where they are made");
    }
}
