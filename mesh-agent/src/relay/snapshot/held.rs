//! What came over the stream, as it came.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use tokio::sync::{Notify, watch};

use super::file;
use crate::relay::resource::Kind;

/// Resources by type and name: version and body. In the order of types, settings come first.
type Resources = BTreeMap<Kind, BTreeMap<String, (String, Vec<u8>)>>;

/// The resources held, as the stream resumes from them and the snapshot keeps them.
#[derive(Debug)]
pub(crate) struct Held {
    resources: RefCell<Resources>,
    unsaved: Cell<bool>,
    changed: Notify,
    /// Grows with every change.
    changes: Cell<u64>,
    /// The change up to which a relay that starts anew would know it; everything while nobody keeps
    /// a snapshot.
    kept: watch::Sender<u64>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            resources: RefCell::default(),
            unsaved: Cell::default(),
            changed: Notify::default(),
            changes: Cell::default(),
            kept: watch::Sender::new(u64::MAX),
        }
    }
}

impl Held {
    /// Takes a resource that parsed, new or changed.
    pub(crate) fn insert(&self, kind: Kind, name: &str, version: String, body: Vec<u8>) {
        self.resources.borrow_mut().entry(kind).or_default().insert(name.to_owned(), (version, body));
        self.touch();
    }

    /// Forgets a resource.
    pub(crate) fn remove(&self, kind: Kind, name: &str) {
        let known = self.resources.borrow_mut().get_mut(&kind).and_then(|names| names.remove(name));
        if known.is_some() {
            self.touch();
        }
    }

    /// The latest change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// The change up to which all is kept. What is acknowledged before it is kept, a relay that
    /// starts anew without the controller would undo.
    pub(crate) fn kept(&self) -> watch::Receiver<u64> {
        self.kept.subscribe()
    }

    /// Everything up to a change is kept, or cannot be.
    pub(super) fn keep(&self, change: u64) {
        self.kept.send_replace(change);
    }

    /// The versions held of a type, by name.
    pub(crate) fn versions(&self, kind: Kind) -> BTreeMap<String, String> {
        let resources = self.resources.borrow();
        let names = resources.get(&kind).into_iter().flatten();
        names.map(|(name, (version, _))| (name.clone(), version.clone())).collect()
    }

    /// Something is to be saved.
    pub(super) fn touch(&self) {
        self.changes.set(self.changes.get() + 1);
        self.unsaved.set(true);
        self.changed.notify_one();
    }

    /// Everything is on disk as it stands.
    pub(super) fn saved(&self) {
        self.unsaved.set(false);
    }

    /// Whether something is to be saved.
    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved.get()
    }

    /// Waits for something to save.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The bytes of a snapshot of everything.
    pub(super) fn encode(&self, node: &str) -> Vec<u8> {
        let resources = self.resources.borrow();
        let all = resources.iter().flat_map(|(&kind, names)| {
            names.iter().map(move |(name, (version, body))| (kind, &**name, &**version, &**body))
        });
        file::encode(node, all)
    }
}
