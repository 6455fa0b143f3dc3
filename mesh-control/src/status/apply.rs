//! Writes status to the API server, through server-side apply on the status subresource.

use std::{
    collections::BTreeMap,
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
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{
    FIELD_MANAGER,
    events::{Teller, news},
    plan::due,
    report,
};
use crate::{
    ads::{Acks, Store},
    ca::Timestamp,
    objects::{Conditions, ObjectRef, Observed},
    source::{Seen, told},
};

/// Changes that come this close together are written once.
const GATHER: Duration = Duration::from_millis(500);
/// Between two writes: at most ten a second, whatever happens.
const GAP: Duration = Duration::from_millis(100);
/// After so many writes it is looked at anew what is to be written.
const AT_ONCE: usize = 50;
/// Who begins to write waits for the nodes to connect: until then nothing would be `Programmed`.
const SETTLE: Duration = Duration::from_secs(10);
/// An object that could not be written is left alone for this long.
const REST: Duration = Duration::from_secs(10);

/// Everything that statuses are made of, and where they are written.
#[derive(Debug)]
pub struct Writer {
    /// What the source and the build say.
    pub conditions: watch::Receiver<Arc<Conditions>>,
    /// What nodes are to have.
    pub store: Arc<Store>,
    /// What they answered.
    pub acks: Arc<Acks>,
    /// What the API server has.
    pub statuses: Seen,
    /// Whether this replica is the one that writes.
    pub leads: watch::Receiver<bool>,
    /// Who is told what users must know.
    pub events: Teller,
}

/// Writes statuses whenever they changed. Returns when the conditions' sender is gone.
pub async fn write_to_cluster(client: Client, mut writer: Writer) {
    let mut answers = writer.acks.changes();
    let mut seen = writer.statuses.changes();
    let mut resting: BTreeMap<ObjectRef, Instant> = BTreeMap::new();
    // What is there stays until it is known what is true now.
    if writer.store.sequence().wait_for(|sequence| *sequence > 0).await.is_err() {
        return;
    }
    loop {
        if !*writer.leads.borrow() {
            if writer.leads.wait_for(|leads| *leads).await.is_err() {
                return;
            }
            sleep(SETTLE).await;
        }
        let current = writer.conditions.borrow_and_update().clone();
        answers.borrow_and_update();
        seen.borrow_and_update();
        let wanted = report(&current, &writer.store, &writer.acks);
        let there = writer.statuses.observed();
        let mut due = due(&wanted, &there, &Timestamp::now().to_string());
        let now = Instant::now();
        resting.retain(|_, until| *until > now);
        due.retain(|(object, _)| !resting.contains_key(object));
        let more = due.len() > AT_ONCE;
        for (object, status) in due.into_iter().take(AT_ONCE) {
            // Another may have taken over meanwhile.
            if !*writer.leads.borrow() {
                break;
            }
            match write(&client, &object, &status).await {
                Ok(uid) => {
                    let before = there.get(&object).map(|before| before.0.as_slice()).unwrap_or_default();
                    writer.events.tell(&object, &uid, news(before, &status.0));
                    writer.statuses.wrote(&object, status);
                    // So that those whose status changes all the time leave room for the others.
                    if more {
                        resting.insert(object, Instant::now() + REST);
                    }
                }
                Err(error) => {
                    tracing::warn!(%object, %error, again = ?REST, "status is not written");
                    resting.insert(object, Instant::now() + REST);
                }
            }
            sleep(GAP).await;
        }
        if !more {
            tokio::select! {
                changed = writer.conditions.changed() => if changed.is_err() { return },
                changed = answers.changed() => if changed.is_err() { return },
                changed = seen.changed() => if changed.is_err() { return },
                changed = writer.leads.changed() => if changed.is_err() { return },
                () = sleep(REST), if !resting.is_empty() => {}
            }
            sleep(GATHER).await;
        }
    }
}

/// Writes a status; gives back the UID of the object that has it now.
async fn write(client: &Client, object: &ObjectRef, status: &Observed) -> Result<String, String> {
    let Some(path) = crate::source::path_of(object) else {
        return Err(format!("{} has no status of ours", object.kind));
    };
    // Forced: whatever else claims a condition of ours, it is ours.
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(body(object, status));
    let request = Request::new(path).patch_subresource("status", &object.name.name, &parameters, &patch);
    let request = request.map_err(|error| error.to_string())?;
    match client.request::<Value>(request).await {
        Ok(written) => Ok(written["metadata"]["uid"].as_str().unwrap_or_default().to_owned()),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
            "{}; check the ClusterRole of the controller (patch {}/status)",
            status.message, object.kind
        )),
        // It is gone, and the watch will say so.
        Err(kube::Error::Api(status)) if status.code == 404 => Err(format!(
            "{}; if the object is there, its definition lacks the status subresource: apply the definitions of this release",
            status.message
        )),
        Err(error) => Err(told(&error)),
    }
}

/// What is applied: of the object nothing but its name and our conditions.
fn body(object: &ObjectRef, status: &Observed) -> Value {
    let mut metadata = json!({"name": object.name.name});
    if !object.name.namespace.is_empty() {
        metadata["namespace"] = object.name.namespace.clone().into();
    }
    json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "metadata": metadata,
        "status": {"conditions": status.0},
    })
}

#[cfg(test)]
mod tests {
    use mesh_api::{condition::Condition, crd::StatusCondition};

    use super::body;
    use crate::objects::{ObjectName, ObjectRef, Observed};

    #[test]
    fn only_conditions_are_applied() {
        let status = Observed(vec![StatusCondition {
            condition: Condition::holds("Accepted", "Accepted", "m").at(3),
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
        }]);
        let object = ObjectRef::mesh("ClusterAccessPolicy", ObjectName::cluster("p"));
        let written = body(&object, &status);
        assert_eq!(written["metadata"], serde_json::json!({"name": "p"}));
        let conditions = serde_json::json!([{"type": "Accepted", "status": "True", "reason": "Accepted",
            "message": "m", "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        assert_eq!(written["status"], serde_json::json!({"conditions": conditions}));
        assert_eq!(Observed::of(Some(&written["status"])), status, "as it is read back");
        assert_eq!(
            crate::source::path_of(&object).unwrap(),
            "/apis/mesh.internal/v1alpha1/clusteraccesspolicies"
        );
    }
}
