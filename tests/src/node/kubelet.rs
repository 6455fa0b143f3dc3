//! The kubelet: one thread for every pod, which takes it from its sandbox to its end.

mod container;
mod environment;
mod phase;
mod pod;
mod probe;
mod process;
mod sandbox;
mod status;
mod volumes;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, mpsc},
    thread,
};

use super::{Config, Desired, Report};
use crate::layout::{Layout, NodeLayout};

/// What all pods of a node share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) layout: Layout,
    pub(super) node: NodeLayout,
    pub(super) reports: mpsc::Sender<Report>,
    sources: RwLock<environment::Sources>,
}

impl Context {
    pub(super) fn new(config: Config, layout: Layout, reports: mpsc::Sender<Report>) -> Self {
        Self { node: layout.node(&config.node), config, layout, reports, sources: RwLock::default() }
    }

    /// The ConfigMaps and Secrets as they are now.
    fn sources(&self) -> environment::Sources {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The pods of this node.
#[derive(Debug)]
pub(super) struct Kubelet {
    context: Arc<Context>,
    pods: BTreeMap<String, mpsc::Sender<pod::Event>>,
}

impl Kubelet {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, pods: BTreeMap::new() }
    }

    /// Starts pods that are new and ends those that are no longer wanted.
    pub(super) fn reconcile(&mut self, desired: &Desired) {
        let sources = environment::Sources::of(desired);
        *self.context.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
        self.pods.retain(|uid, events| {
            let wanted = desired.pods.iter().any(|assignment| assignment.uid == *uid);
            if !wanted {
                // A pod whose thread has ended is gone already.
                let _ = events.send(pod::Event::Terminate);
            }
            wanted
        });
        for assignment in &desired.pods {
            if self.pods.contains_key(&assignment.uid) {
                continue;
            }
            let (context, assignment) = (Arc::clone(&self.context), assignment.clone());
            let (sender, events) = mpsc::channel();
            self.pods.insert(assignment.uid.clone(), sender.clone());
            thread::spawn(move || pod::run(&context, assignment, sender, &events));
        }
    }
}
