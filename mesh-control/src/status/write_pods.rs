//! Writes to every pod's status whether it is in the mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Client,
    core::{
        params::{Patch, PatchParams},
        request::Request,
    },
};
use serde_json::Value;
use tokio::sync::watch::{self, error::RecvError};

use super::{
    FIELD_MANAGER,
    enrolment::{enrolments, pod},
    events::{Teller, news},
    pods::{Due, body, due, is_new_wait},
    rounds::{self, Pace, SETTLE, Statuses},
};
use crate::{
    ads::{Acks, Store},
    ca::Timestamp,
    objects::{Conditions, ObjectName},
    reports::Reports,
    source::{Seen, told},
};

/// A pod is not written again before the watch can have brought what was written.
const REST: Duration = Duration::from_secs(2);
/// A pod that could not be written is left alone for this long.
const FAILED: Duration = Duration::from_secs(10);
/// Every pod waits for a moment to be wired, and one that ends is not found for a moment. That it waits is
/// written when it takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time alone brings a change: who is silent is one day too long silent.
const EVERY: Duration = Duration::from_secs(5);

/// Everything that pods' conditions are made of, and where they are written.
#[derive(Debug)]
pub struct PodWriter {
    /// What the source and the build say.
    pub conditions: watch::Receiver<Arc<Conditions>>,
    /// What nodes say.
    pub reports: Arc<Reports>,
    /// What nodes are to have.
    pub store: Arc<Store>,
    /// What they answered.
    pub acks: Arc<Acks>,
    /// What the API server has.
    pub seen: Seen,
    /// Whether this replica is the one that writes.
    pub leads: watch::Receiver<bool>,
    /// Who is told what users must know.
    pub events: Teller,
}

/// Writes pods' conditions whenever they changed. Returns when the conditions' sender is gone.
pub async fn write_pods(client: Client, writer: PodWriter) {
    let (leads, built) = (writer.leads.clone(), writer.store.sequence());
    let (reported, sequence) = (writer.reports.changes(), writer.store.sequence());
    rounds::run(Pods { client, writer, reported, sequence, waiting: BTreeMap::new() }, leads, built).await;
}

/// The pods of the cluster.
struct Pods {
    client: Client,
    writer: PodWriter,
    reported: watch::Receiver<u64>,
    sequence: watch::Receiver<u64>,
    /// Since when pods wait that nobody was told of.
    waiting: BTreeMap<ObjectName, Instant>,
}

impl Statuses for Pods {
    type Object = ObjectName;
    type Due = Due;

    /// At most twenty a second, whatever happens.
    const PACE: Pace =
        Pace { gap: Duration::from_millis(50), at_once: 100, rest: REST, every: Some(EVERY), settle: SETTLE };

    fn begin(&mut self, now: Instant) {
        self.writer.reports.told_from(now);
    }

    fn due(&mut self, now: Instant) -> Vec<(ObjectName, Due)> {
        let current = self.writer.conditions.borrow_and_update().clone();
        self.reported.borrow_and_update();
        self.sequence.borrow_and_update();
        let standings = enrolments(&current, &self.writer.reports, &self.writer.acks, now);
        let time = Timestamp::now().to_string();
        let mut due = self.writer.seen.with_objects(|objects| due(&objects.pods, &standings, &time));
        let new: BTreeSet<ObjectName> =
            due.iter().filter(|due| is_new_wait(due)).map(|due| due.name.clone()).collect();
        self.waiting.retain(|name, _| new.contains(name));
        due.retain(|due| {
            !new.contains(&due.name)
                || now.duration_since(*self.waiting.entry(due.name.clone()).or_insert(now)) >= PATIENCE
        });
        due.into_iter().map(|due| (due.name.clone(), due)).collect()
    }

    async fn write(&mut self, name: &ObjectName, due: Due, _: bool) -> Option<Duration> {
        Some(match write(&self.client, &due).await {
            Ok(written) => {
                if written {
                    let news = news(&due.before.0, &due.after.0);
                    self.writer.events.tell(&pod(name.clone()), &due.uid, news);
                }
                REST
            }
            Err(error) => {
                tracing::warn!(pod = %name, %error, again = ?FAILED, "its condition is not written");
                FAILED
            }
        })
    }

    async fn changed(&mut self) -> Result<(), RecvError> {
        tokio::select! {
            changed = self.writer.conditions.changed() => changed,
            changed = self.reported.changed() => changed,
            changed = self.sequence.changed() => changed,
        }
    }
}

/// Writes a pod's condition; says whether that pod is still there.
async fn write(client: &Client, due: &Due) -> Result<bool, String> {
    let path = format!("/api/v1/namespaces/{}/pods", due.name.namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(body(due));
    let request = Request::new(path).patch_subresource("status", &due.name.name, &parameters, &patch);
    let request = request.map_err(|error| error.to_string())?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(true),
        // It is gone, or another one has its name: the watch will say so.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Err(format!("{}; check the ClusterRole of the controller (patch pods/status)", status.message))
        }
        Err(error) => Err(told(&error)),
    }
}
