//! What every node is to have, and what changed of it lately.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::watch;

use crate::build::{Changes, Encoded, ResourceKey, ResourceKind, Resources, Scope};

/// A stream that is at most this many changes behind is told names; one further behind compares
/// everything.
const REMEMBERED_CHANGES: usize = 256;

/// The resources of all nodes.
#[derive(Debug)]
pub struct Store {
    state: RwLock<State>,
    sequence: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    resources: BTreeMap<Scope, Resources>,
    /// The number of changes so far.
    sequence: u64,
    /// The last changes, the newest last.
    recent: VecDeque<Arc<BTreeSet<(Scope, ResourceKey)>>>,
}

/// What a stream has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dirty {
    /// These resources.
    Keys(BTreeSet<ResourceKey>),
    /// Everything.
    All,
}

impl Default for Store {
    fn default() -> Self {
        Self { state: RwLock::default(), sequence: watch::Sender::new(0) }
    }
}

impl Store {
    /// Takes over what a build changed, in one short write, and wakes every stream.
    pub fn apply(&self, changes: &Changes) {
        let keys = changes.updated.iter().map(|(scope, key, _)| (scope.clone(), key.clone()));
        let keys = Arc::new(keys.chain(changes.removed.iter().cloned()).collect::<BTreeSet<_>>());
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (scope, key) in &changes.removed {
            if let Some(resources) = state.resources.get_mut(scope) {
                resources.remove(key);
                if resources.is_empty() {
                    state.resources.remove(scope);
                }
            }
        }
        for (scope, key, encoded) in &changes.updated {
            state.resources.entry(scope.clone()).or_default().insert(key.clone(), encoded.clone());
        }
        // The first build counts even if it is empty: it says that there is nothing.
        state.sequence += 1;
        state.recent.push_back(keys);
        if state.recent.len() > REMEMBERED_CHANGES {
            state.recent.pop_front();
        }
        let sequence = state.sequence;
        drop(state);
        self.sequence.send_replace(sequence);
    }

    /// The number of changes so far, to be waited on. Zero is before the first build.
    pub fn sequence(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }

    /// What a node is to have, as of now.
    pub(super) fn view<'a>(&'a self, node: &str) -> View<'a> {
        View { state: self.read(), node: Scope::Node(node.into()) }
    }

    /// The nodes that have resources of their own.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let state = self.read();
        let node = |scope: &Scope| match scope {
            Scope::Node(node) => Some(node.clone()),
            Scope::Shared => None,
        };
        state.resources.keys().filter_map(node).collect()
    }

    /// Calls `each` with every resource that is a node's own.
    pub fn for_each_own(&self, mut each: impl FnMut(&Arc<str>, &ResourceKey, &Arc<Encoded>)) {
        for (scope, resources) in &self.read().resources {
            if let Scope::Node(node) = scope {
                resources.iter().for_each(|(key, encoded)| each(node, key, encoded));
            }
        }
    }

    /// How many resources of each kind a node is to have.
    pub fn count(&self, node: &str) -> BTreeMap<&'static str, usize> {
        let view = self.view(node);
        ResourceKind::ALL.into_iter().map(|kind| (kind.name(), view.of_kind(kind).len())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A writer that panicked left whole entries behind; they are as good as before.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store under its read lock, as one node sees it.
pub(super) struct View<'a> {
    state: RwLockReadGuard<'a, State>,
    node: Scope,
}

impl View<'_> {
    /// A resource: the node's own, else the shared one.
    pub(super) fn get(&self, key: &ResourceKey) -> Option<&Arc<Encoded>> {
        let own = self.state.resources.get(&self.node).and_then(|own| own.get(key));
        own.or_else(|| self.state.resources.get(&Scope::Shared).and_then(|shared| shared.get(key)))
    }

    /// The names of every resource of a kind.
    pub(super) fn of_kind(&self, kind: ResourceKind) -> BTreeSet<Arc<str>> {
        let first = ResourceKey::new(kind, "");
        let scopes =
            [&Scope::Shared, &self.node].into_iter().filter_map(|scope| self.state.resources.get(scope));
        scopes
            .flat_map(|resources| resources.range(first.clone()..).take_while(|(key, _)| key.kind == kind))
            .map(|(key, _)| key.name.clone())
            .collect()
    }

    /// The number of changes that this view has seen.
    pub(super) fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// What changed for the node after the change numbered `seen`.
    pub(super) fn dirty_since(&self, seen: u64) -> Dirty {
        let behind = usize::try_from(self.state.sequence - seen).unwrap_or(usize::MAX);
        if seen == 0 || behind > self.state.recent.len() {
            return Dirty::All;
        }
        let changes = self.state.recent.iter().rev().take(behind).flat_map(|keys| keys.iter());
        let ours = changes.filter(|(scope, _)| *scope == Scope::Shared || *scope == self.node);
        Dirty::Keys(ours.map(|(_, key)| key.clone()).collect())
    }
}
