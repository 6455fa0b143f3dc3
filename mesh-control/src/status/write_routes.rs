//! Writes to every route's status what became of its parents that are Services: what was read is changed and
//! written on condition that it still is what was read.

use std::{
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
use serde_json::{Map, Value, json};
use tokio::sync::watch::{self, error::RecvError};

use super::{
    FIELD_MANAGER,
    events::{Teller, news},
    parents::{Due, due, ours},
    rounds::{self, Pace, Statuses},
};
use crate::{
    build::RouteParents,
    ca::Timestamp,
    objects::{ObjectRef, Parents, RouteName},
    source::{Seen, told},
};

/// A route that somebody else changed meanwhile is written again when the watch has brought that, which is soon.
const CHANGED: Duration = Duration::from_millis(500);
/// A route that could not be written is left alone for this long.
const FAILED: Duration = Duration::from_secs(10);

/// Everything that routes' statuses are made of, and where they are written.
#[derive(Debug)]
pub struct RouteWriter {
    /// What the build says.
    pub parents: watch::Receiver<Arc<RouteParents>>,
    /// Counts builds: before the first nothing is known.
    pub built: watch::Receiver<u64>,
    /// What the API server has.
    pub seen: Seen,
    /// Whether this replica is the one that writes.
    pub leads: watch::Receiver<bool>,
    /// Who is told what users must know.
    pub events: Teller,
}

/// Writes routes' statuses whenever they changed. Returns when the parents' sender is gone.
pub async fn write_routes(client: Client, writer: RouteWriter) {
    let (leads, built, seen) = (writer.leads.clone(), writer.built.clone(), writer.seen.changes());
    rounds::run(Routes { client, writer, seen }, leads, built).await;
}

/// The routes.
struct Routes {
    client: Client,
    writer: RouteWriter,
    seen: watch::Receiver<u64>,
}

impl Statuses for Routes {
    type Object = RouteName;
    type Due = Due;

    /// At most twenty a second, whatever happens. What is said of routes nodes have no part in: there is nobody to wait for.
    const PACE: Pace = Pace {
        gap: Duration::from_millis(50),
        at_once: 100,
        rest: CHANGED,
        every: None,
        settle: Duration::ZERO,
    };

    fn begin(&mut self, _: Instant) {}

    fn due(&mut self, _: Instant) -> Vec<(RouteName, Due)> {
        let wanted = self.writer.parents.borrow_and_update().clone();
        self.seen.borrow_and_update();
        due(&wanted, &self.writer.seen.parents(), &Timestamp::now().to_string())
    }

    async fn write(&mut self, route: &RouteName, due: Due, _: bool) -> Option<Duration> {
        let path = self.writer.seen.path_of_route(route);
        match write(&self.client, path, route, &due).await {
            Ok(written) => {
                let news = news(&ours(&due.before.entries).0, &ours(&due.after).0);
                let (object, uid) = whose(route, &written);
                self.writer.events.tell(&object, &uid, news);
                self.writer.seen.wrote_parents(route.clone(), Parents::of(&written));
                None
            }
            // It changed, or is gone: the watch will say so.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Some(CHANGED),
            Err(error) => {
                let told = match error {
                    kube::Error::Api(status) if status.code == 403 => format!(
                        "{}; check the ClusterRole of the controller (patch {}/status)",
                        status.message,
                        route.kind.name()
                    ),
                    error => told(&error),
                };
                tracing::warn!(%route, error = %told, again = ?FAILED, "the route's status is not written");
                Some(FAILED)
            }
        }
    }

    async fn changed(&mut self) -> Result<(), RecvError> {
        tokio::select! {
            changed = self.writer.parents.changed() => changed,
            changed = self.seen.changed() => changed,
        }
    }
}

/// Writes a route's parents; gives back the route as it is then.
async fn write(
    client: &Client,
    path: String,
    route: &RouteName,
    due: &Due,
) -> Result<Map<String, Value>, kube::Error> {
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    // With its version the patch is refused where the route is another by now.
    let patch =
        json!({"metadata": {"resourceVersion": due.before.version}, "status": {"parents": due.after}});
    let patch = Patch::Merge(patch);
    let request = Request::new(path).patch_subresource("status", &route.name.name, &parameters, &patch);
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// A route as the API server has it, and its UID.
fn whose(route: &RouteName, written: &Map<String, Value>) -> (ObjectRef, String) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = ObjectRef {
        api_version: text(written.get("apiVersion")),
        kind: route.kind.name().to_owned(),
        name: route.name.clone(),
    };
    let metadata = written.get("metadata").and_then(Value::as_object);
    (object, text(metadata.and_then(|metadata| metadata.get("uid"))))
}
