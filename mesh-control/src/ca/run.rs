//! Keeps the authority in step with the model, the nodes and the time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mesh_api::condition::{CA_READY, Condition};

use super::{
    authority::{Authority, Streams},
    time::Timestamp,
    trust::Trust,
};
use crate::{
    build::{Changes, Encoded, ResourceKey, ResourceKind, Scope},
    pipeline::Shared,
};

/// Time alone brings a step this often.
const EVERY: Duration = Duration::from_secs(1);
/// Answers that come this close together are looked at once.
const GATHER: Duration = Duration::from_millis(50);

/// The name of the only `TrustBundle`.
const BUNDLE: &str = "default";

/// Runs until the process ends. It begins with the first build: before that nobody knows what is
/// asked of an authority.
pub async fn run(authority: Arc<Authority>, shared: Arc<Shared>) {
    let mut demand = shared.demand();
    let mut answers = shared.acks.changes();
    let trust = authority.trust();
    let mut published = None;
    loop {
        let current = demand.borrow_and_update().clone();
        answers.borrow_and_update();
        if let Some(current) = current {
            let streams = streams(&shared, published.as_ref());
            let stepping = authority.clone();
            let step = move || stepping.step(&current, &streams, Timestamp::now());
            // It waits for the disk, and nobody has to wait with it.
            if tokio::task::spawn_blocking(step).await.is_err() {
                return;
            }
            let believed = trust.borrow().clone();
            if let Some(believed) = believed {
                publish(&shared, &believed, &mut published);
            }
            shared.set_authority(condition(&authority));
        }
        tokio::select! {
            changed = demand.changed() => if changed.is_err() { return },
            changed = answers.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EVERY) => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

fn key() -> ResourceKey {
    ResourceKey::new(ResourceKind::TrustBundle, BUNDLE)
}

fn streams(shared: &Shared, published: Option<&Arc<Encoded>>) -> Streams {
    let connected = shared.acks.connected_nodes();
    let unaware = match published {
        Some(encoded) => shared.acks.lacking(&key(), &encoded.version).len(),
        None => connected.len(),
    };
    Streams { connected: connected.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), unaware }
}

fn publish(shared: &Shared, trust: &Trust, published: &mut Option<Arc<Encoded>>) {
    let encoded = Encoded::new(trust.bundle(), [].into());
    if published.as_deref() == Some(&encoded) {
        return;
    }
    let encoded = Arc::new(encoded);
    *published = Some(encoded.clone());
    shared.store.apply(&Changes { updated: vec![(Scope::Shared, key(), encoded)], ..Changes::default() });
}

fn condition(authority: &Authority) -> Condition {
    match authority.problem() {
        None => Condition::holds(CA_READY, "Signing", "the certificate authority signs"),
        Some(problem) => {
            let problem = format!("{problem}; until then the last one that was good signs, if there was one");
            Condition::failed(CA_READY, "NotUsable", problem)
        }
    }
}
