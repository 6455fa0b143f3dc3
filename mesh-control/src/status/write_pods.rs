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
use tokio::{sync::watch, time::sleep};

use super::{
    FIELD_MANAGER,
    enrolment::{enrolments, pod},
    events::{Teller, news},
    pods::{Due, body, due, is_new_wait},
};
use crate::{
    ads::{Acks, Store},
    ca::Timestamp,
    objects::{Conditions, ObjectName},
    reports::Reports,
    source::{Seen, told},
};

/// Changes that come this close together are written once.
const GATHER: Duration = Duration::from_millis(500);
/// Between two writes: at most twenty a second, whatever happens.
const GAP: Duration = Duration::from_millis(50);
/// After so many writes it is looked at anew what is to be written.
const AT_ONCE: usize = 100;
/// Who begins to write waits for the nodes to connect: until then nobody knows their pods.
const SETTLE: Duration = Duration::from_secs(10);
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
pub async fn write_pods(client: Client, mut writer: PodWriter) {
    let mut reported = writer.reports.changes();
    let mut built = writer.store.sequence();
    let mut resting: BTreeMap<ObjectName, Instant> = BTreeMap::new();
    let mut waiting: BTreeMap<ObjectName, Instant> = BTreeMap::new();
    if writer.store.sequence().wait_for(|sequence| *sequence > 0).await.is_err() {
        return;
    }
    loop {
        if !*writer.leads.borrow() {
            if writer.leads.wait_for(|leads| *leads).await.is_err() {
                return;
            }
            writer.reports.told_from(Instant::now());
            sleep(SETTLE).await;
        }
        let current = writer.conditions.borrow_and_update().clone();
        reported.borrow_and_update();
        built.borrow_and_update();
        let now = Instant::now();
        let standings = enrolments(&current, &writer.reports, &writer.acks, now);
        let time = Timestamp::now().to_string();
        let mut due = writer.seen.with_objects(|objects| due(&objects.pods, &standings, &time));
        resting.retain(|_, until| *until > now);
        let new: BTreeSet<ObjectName> =
            due.iter().filter(|due| is_new_wait(due)).map(|due| due.name.clone()).collect();
        waiting.retain(|name, _| new.contains(name));
        due.retain(|due| {
            let waits = new.contains(&due.name)
                && now.duration_since(*waiting.entry(due.name.clone()).or_insert(now)) < PATIENCE;
            !waits && !resting.contains_key(&due.name)
        });
        let more = due.len() > AT_ONCE;
        for due in due.into_iter().take(AT_ONCE) {
            // Another may have taken over meanwhile.
            if !*writer.leads.borrow() {
                break;
            }
            let rest = match write(&client, &due).await {
                Ok(written) => {
                    if written {
                        let news = news(&due.before.0, &due.after.0);
                        writer.events.tell(&pod(due.name.clone()), &due.uid, news);
                    }
                    REST
                }
                Err(error) => {
                    tracing::warn!(pod = %due.name, %error, again = ?FAILED, "its condition is not written");
                    FAILED
                }
            };
            resting.insert(due.name, Instant::now() + rest);
            sleep(GAP).await;
        }
        if !more {
            let soon = if resting.is_empty() { EVERY } else { REST };
            tokio::select! {
                changed = writer.conditions.changed() => if changed.is_err() { return },
                changed = reported.changed() => if changed.is_err() { return },
                changed = built.changed() => if changed.is_err() { return },
                changed = writer.leads.changed() => if changed.is_err() { return },
                () = sleep(soon) => {}
            }
            sleep(GATHER).await;
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
