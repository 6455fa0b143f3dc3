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
use tokio::sync::watch::{self, error::RecvError};

use super::{
    FIELD_MANAGER,
    events::{Teller, news},
    plan::due,
    report,
    rounds::{self, Pace, SETTLE, Statuses},
};
use crate::{
    ads::{Acks, Store},
    build::FEATURES,
    ca::Timestamp,
    objects::{Conditions, ObjectRef, Observed, XMESH_VERSION},
    source::{Seen, told},
};

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
pub async fn write_to_cluster(client: Client, writer: Writer) {
    let (leads, built) = (writer.leads.clone(), writer.store.sequence());
    let (answers, seen) = (writer.acks.changes(), writer.statuses.changes());
    rounds::run(Objects { client, writer, answers, seen, there: BTreeMap::new() }, leads, built).await;
}

/// The objects that users wrote.
struct Objects {
    client: Client,
    writer: Writer,
    answers: watch::Receiver<u64>,
    seen: watch::Receiver<u64>,
    /// What they have, in this round.
    there: BTreeMap<ObjectRef, Observed>,
}

impl Statuses for Objects {
    type Object = ObjectRef;
    type Due = Observed;

    /// At most ten a second, whatever happens.
    const PACE: Pace =
        Pace { gap: Duration::from_millis(100), at_once: 50, rest: REST, every: None, settle: SETTLE };

    fn begin(&mut self, _: Instant) {}

    fn due(&mut self, _: Instant) -> Vec<(ObjectRef, Observed)> {
        let current = self.writer.conditions.borrow_and_update().clone();
        self.answers.borrow_and_update();
        self.seen.borrow_and_update();
        let wanted = report(&current, &self.writer.store, &self.writer.acks);
        self.there = self.writer.statuses.observed();
        due(&wanted, &self.there, &Timestamp::now().to_string())
    }

    async fn write(&mut self, object: &ObjectRef, status: Observed, more: bool) -> Option<Duration> {
        match write(&self.client, object, &status).await {
            Ok(uid) => {
                let before = self.there.get(object).map(|before| before.0.as_slice()).unwrap_or_default();
                self.writer.events.tell(object, &uid, news(before, &status.0));
                self.writer.statuses.wrote(object, status);
                // So that those whose status changes all the time leave room for the others.
                more.then_some(REST)
            }
            Err(error) => {
                tracing::warn!(%object, %error, again = ?REST, "status is not written");
                Some(REST)
            }
        }
    }

    async fn changed(&mut self) -> Result<(), RecvError> {
        tokio::select! {
            changed = self.writer.conditions.changed() => changed,
            changed = self.answers.changed() => changed,
            changed = self.seen.changed() => changed,
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

/// What is applied: of the object nothing but its name and our conditions; of the mesh's own what it supports.
fn body(object: &ObjectRef, status: &Observed) -> Value {
    let mut metadata = json!({"name": object.name.name});
    if !object.name.namespace.is_empty() {
        metadata["namespace"] = object.name.namespace.clone().into();
    }
    let mut written = json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "metadata": metadata,
        "status": {"conditions": status.0},
    });
    if object.api_version == XMESH_VERSION {
        written["status"]["supportedFeatures"] = FEATURES.iter().map(|name| json!({"name": name})).collect();
    }
    written
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
