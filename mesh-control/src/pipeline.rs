//! From source to store: one thread that waits for changes, builds, and publishes.

use std::sync::{Arc, Mutex, PoisonError};

use mesh_api::condition::Condition;
use tokio::sync::watch;

use crate::{
    ads::{Acks, Store},
    build::{Builder, RouteParents, SINGLETON},
    ca::{Demand, Placements},
    objects::{Conditions, ObjectName, ObjectRef},
    reports::Reports,
    source::{Snapshot, Source, SourceError},
};

/// What the controller knows, shared by everything that serves it.
#[derive(Debug)]
pub struct Shared {
    /// What nodes are to have.
    pub store: Arc<Store>,
    /// What they answered.
    pub acks: Arc<Acks>,
    /// Where pods are.
    pub placements: Arc<Placements>,
    /// What nodes say of their pods.
    pub reports: Arc<Reports>,
    conditions: watch::Sender<Arc<Conditions>>,
    parents: watch::Sender<Arc<RouteParents>>,
    demand: watch::Sender<Option<Demand>>,
    authority: Mutex<Option<Condition>>,
    source_error: Mutex<Option<String>>,
}

impl Default for Shared {
    fn default() -> Self {
        let placements = Arc::<Placements>::default();
        Self {
            store: Arc::default(),
            acks: Arc::default(),
            reports: Arc::new(Reports::new(placements.clone())),
            placements,
            conditions: watch::Sender::new(Arc::default()),
            parents: watch::Sender::new(Arc::default()),
            demand: watch::Sender::new(None),
            authority: Mutex::default(),
            source_error: Mutex::default(),
        }
    }
}

impl Shared {
    /// What the source and the build say of every object.
    pub fn conditions(&self) -> watch::Receiver<Arc<Conditions>> {
        self.conditions.subscribe()
    }

    /// What the build says of the parents of every route.
    pub fn parents(&self) -> watch::Receiver<Arc<RouteParents>> {
        self.parents.subscribe()
    }

    /// What is asked of the certificate authority; nothing before the first build.
    pub fn demand(&self) -> watch::Receiver<Option<Demand>> {
        self.demand.subscribe()
    }

    /// Says how the certificate authority is: it shows in the `MeshConfig`'s status.
    pub fn set_authority(&self, condition: Condition) {
        let mut authority = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if authority.as_ref() == Some(&condition) {
            return;
        }
        self.conditions.send_if_modified(|last| {
            let mut conditions = Conditions::clone(last);
            add_authority(&mut conditions, &condition);
            let changed = conditions != **last;
            *last = Arc::new(conditions);
            changed
        });
        *authority = Some(condition);
    }

    /// Why the source cannot be read now, if it cannot.
    pub fn source_error(&self) -> Option<String> {
        self.source_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until the process ends. A source that cannot be read keeps its last state in force.
    pub fn run(&self, mut source: impl Source) {
        let mut builder = Builder::default();
        let mut next = source.now();
        loop {
            self.take(&mut builder, next);
            next = source.changed();
        }
    }

    /// Takes over what came from the source.
    pub fn take(&self, builder: &mut Builder, next: Result<Option<Snapshot>, SourceError>) {
        let error = match next {
            Ok(Some(mut snapshot)) => {
                let trouble = snapshot.trouble.take();
                self.build(builder, snapshot);
                trouble.map(|why| SourceError::Cluster { why }.to_string())
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
        let mut conditions = std::mem::take(&mut changes.conditions);
        let parents = std::mem::take(&mut changes.parents);
        self.parents.send_if_modified(|last| {
            let changed = **last != *parents;
            *last = parents;
            changed
        });
        let (updated, removed) = (changes.updated.len(), changes.removed.len());
        // A node may ask for a pod's certificate as soon as it is told of the pod.
        self.placements.update(std::mem::take(&mut changes.placed));
        self.store.apply(&changes);
        let demand = Some(builder.authority());
        self.demand.send_if_modified(|last| {
            let changed = *last != demand;
            *last = demand;
            changed
        });
        let authority = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(condition) = &*authority {
            add_authority(&mut conditions, condition);
        }
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

/// Puts the authority's condition beside the `MeshConfig`'s others, if there is one.
fn add_authority(conditions: &mut Conditions, condition: &Condition) {
    let config = ObjectRef::mesh("MeshConfig", ObjectName::cluster(SINGLETON));
    let Some(of_config) = conditions.get_mut(&config) else { return };
    let generation = of_config.first().map_or(0, |first| first.observed_generation);
    of_config.retain(|other| other.kind != condition.kind);
    of_config.push(condition.clone().at(generation));
}
