//! From source to store: one thread that waits for changes, builds, and publishes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{
    ads::{Acks, Store},
    build::Builder,
    objects::Conditions,
    source::{Snapshot, SourceError, Watch},
};

/// What the controller knows, shared by everything that serves it.
#[derive(Debug)]
pub struct Shared {
    /// What nodes are to have.
    pub store: Arc<Store>,
    /// What they answered.
    pub acks: Arc<Acks>,
    conditions: watch::Sender<Arc<Conditions>>,
    source_error: Mutex<Option<String>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            store: Arc::default(),
            acks: Arc::default(),
            conditions: watch::Sender::new(Arc::default()),
            source_error: Mutex::default(),
        }
    }
}

impl Shared {
    /// What the source and the build say of every object.
    pub fn conditions(&self) -> watch::Receiver<Arc<Conditions>> {
        self.conditions.subscribe()
    }

    /// Why the source cannot be read now, if it cannot.
    pub fn source_error(&self) -> Option<String> {
        self.source_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until the process ends. A source that cannot be read keeps its last state in force.
    pub fn run(&self, mut watch: Watch) {
        let mut builder = Builder::default();
        let mut next = watch.now();
        loop {
            self.take(&mut builder, next);
            next = watch.changed();
        }
    }

    /// Takes over what came from the source.
    pub fn take(&self, builder: &mut Builder, next: Result<Option<Snapshot>, SourceError>) {
        let error = match next {
            Ok(Some(snapshot)) => {
                self.build(builder, snapshot);
                None
            }
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        };
        let mut last = self.source_error.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error.as_ref().filter(|error| last.as_ref() != Some(*error)) {
            tracing::error!(%error, "the source cannot be read; its last state stays in force");
        }
        *last = error;
    }

    fn build(&self, builder: &mut Builder, snapshot: Snapshot) {
        let began = std::time::Instant::now();
        let mut changes = builder.update(snapshot.objects);
        for (reference, conditions) in snapshot.problems {
            changes.conditions.entry(reference).or_default().extend(conditions);
        }
        let conditions = std::mem::take(&mut changes.conditions);
        let (updated, removed) = (changes.updated.len(), changes.removed.len());
        self.store.apply(&changes);
        self.conditions.send_if_modified(|last| {
            let changed = **last != conditions;
            if changed {
                *last = Arc::new(conditions);
            }
            changed
        });
        tracing::debug!(updated, removed, took = ?began.elapsed(), "built");
    }
}
