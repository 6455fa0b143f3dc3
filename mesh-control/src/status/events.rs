//! Kubernetes Events about what a user must know: what `kubectl describe` shows below an object.
//!
//! An event follows a condition that was written: [`mod@news`] says which change is worth one, [`ledger`]
//! keeps them few. What the API server has of conditions is therefore the memory of what was told: a
//! controller that starts, or takes over, tells nothing again.

mod ledger;
mod news;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kube::{
    Client,
    core::{
        params::{Patch, PatchParams, PostParams},
        request::Request,
    },
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep};

use super::FIELD_MANAGER;
use crate::{ca::Timestamp, objects::ObjectRef, source::told};
use ledger::{Decision, Ledger};
pub(super) use news::{News, Weight, news};

/// Who the API server is told reports.
const CONTROLLER: &str = "mesh.internal/mesh-control";
/// News that wait to be told; more are dropped, and counted in the log.
const QUEUE: usize = 256;
/// Between two requests: at most five a second.
const GAP: Duration = Duration::from_millis(200);
/// The namespace of events about objects that have none.
const DEFAULT: &str = "default";
/// As long as the API server lets a note and an instance be.
const NOTE_BYTES: usize = 1024;
const INSTANCE_BYTES: usize = 128;
/// What of an object's name is in an event's.
const NAME_BYTES: usize = 200;

/// Something that happened to an object.
#[derive(Debug)]
struct Happened {
    object: ObjectRef,
    uid: String,
    news: News,
}

/// Takes what is to be told.
#[derive(Debug, Clone)]
pub struct Teller(mpsc::Sender<Happened>);

impl Teller {
    /// A teller whose events are written by `client` in the name of `host`, on the current runtime.
    #[must_use]
    pub fn start(client: Client, host: &str) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(client, bounded(host, INSTANCE_BYTES), queue));
        Self(sender)
    }

    /// Tells of an object, as soon as that can be done.
    pub(super) fn tell(&self, object: &ObjectRef, uid: &str, news: Vec<News>) {
        for news in news {
            let happened = Happened { object: object.clone(), uid: uid.to_owned(), news };
            if let Err(error) = self.0.try_send(happened) {
                tracing::warn!(%object, %error, "an event is not told");
            }
        }
    }
}

async fn run(client: Client, instance: String, mut queue: mpsc::Receiver<Happened>) {
    let mut ledger = Ledger::default();
    while let Some(happened) = queue.recv().await {
        let Happened { object, uid, news } = &happened;
        let written = match ledger.decide(object, uid, news, Instant::now()) {
            Decision::Leave => continue,
            Decision::First(number) => create(&client, &instance, &happened, number).await,
            Decision::Again(number, count) => {
                match again(&client, &happened, number, count).await {
                    // The API server keeps events for an hour, as it is set up usually.
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        create(&client, &instance, &happened, number).await
                    }
                    other => other,
                }
            }
        };
        match written {
            Ok(()) => {}
            // Its namespace is gone or going, or it was told by one who was cut off.
            Err(kube::Error::Api(status))
                if matches!(status.code, 404 | 409) || status.message.contains("being terminated") => {}
            Err(error) => {
                let error = told(&error);
                tracing::warn!(%object, reason = news.reason, error, "an event is not told; check the ClusterRole of the controller (create and patch events in events.k8s.io)");
            }
        }
        sleep(GAP).await;
    }
}

async fn create(
    client: &Client,
    instance: &str,
    happened: &Happened,
    number: u64,
) -> Result<(), kube::Error> {
    let event = event(instance, happened, number, SystemTime::now());
    let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let request = Request::new(path(&happened.object)).create(&parameters, body);
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

async fn again(client: &Client, happened: &Happened, number: u64, count: u32) -> Result<(), kube::Error> {
    let series = json!({"series": {"count": count, "lastObservedTime": micro_time(SystemTime::now())}});
    let name = name(&happened.object, number);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let request = Request::new(path(&happened.object)).patch(&name, &parameters, &Patch::Merge(series));
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

fn namespace(object: &ObjectRef) -> &str {
    if object.name.namespace.is_empty() { DEFAULT } else { &object.name.namespace }
}

fn path(object: &ObjectRef) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events", namespace(object))
}

fn name(object: &ObjectRef, number: u64) -> String {
    let name = bounded(&object.name.name, NAME_BYTES);
    format!("{}.{number:016x}", name.trim_end_matches(['.', '-']))
}

fn event(instance: &str, happened: &Happened, number: u64, now: SystemTime) -> Value {
    let Happened { object, uid, news } = happened;
    let mut regarding = json!({
        "apiVersion": object.api_version, "kind": object.kind, "name": object.name.name, "uid": uid,
    });
    if !object.name.namespace.is_empty() {
        regarding["namespace"] = object.name.namespace.clone().into();
    }
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name(object, number), "namespace": namespace(object)},
        "eventTime": micro_time(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "action": news.action,
        "reason": news.reason,
        "regarding": regarding,
        "note": bounded(&news.note, NOTE_BYTES),
        "type": match news.weight { Weight::Normal => "Normal", Weight::Warning => "Warning" },
    })
}

/// To the microsecond, as events have it.
fn micro_time(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)).to_string();
    format!("{}.{:06}Z", seconds.trim_end_matches('Z'), since.subsec_micros())
}

fn bounded(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::{Happened, News, Weight, event, path};
    use crate::objects::{ObjectName, ObjectRef};

    fn happened(object: ObjectRef) -> Happened {
        let news =
            News {
                weight: Weight::Warning, action: "Accept", reason: "NotAccepted", note: "ä".repeat(2000)
            };
        Happened { object, uid: "u".to_owned(), news }
    }

    #[test]
    fn an_event_names_its_object_and_keeps_to_the_api_servers_limits() {
        let object = ObjectRef::mesh("AccessPolicy", ObjectName::new("shop", "p"));
        let now = UNIX_EPOCH + Duration::from_micros(1_500_000_000_000_042);
        let event = event("host", &happened(object.clone()), 255, now);
        assert_eq!(event["metadata"], json!({"name": "p.00000000000000ff", "namespace": "shop"}));
        assert_eq!(event["eventTime"], "2017-07-14T02:40:00.000042Z");
        assert_eq!(
            event["regarding"],
            json!({"apiVersion": "mesh.internal/v1alpha1", "kind": "AccessPolicy", "name": "p",
                "namespace": "shop", "uid": "u"})
        );
        assert_eq!((event["type"].as_str(), event["note"].as_str().unwrap().len()), (Some("Warning"), 1024));
        assert_eq!(path(&object), "/apis/events.k8s.io/v1/namespaces/shop/events");
    }

    #[test]
    fn what_has_no_namespace_is_told_in_the_default_one() {
        let name = ObjectName::cluster(format!("{}.", "x".repeat(199)) + &"y".repeat(53));
        let object = ObjectRef::mesh("MeshConfig", name);
        let event = event("host", &happened(object), 0, UNIX_EPOCH);
        assert_eq!(event["metadata"]["namespace"], "default");
        assert!(event["regarding"].get("namespace").is_none());
        assert_eq!(event["metadata"]["name"], format!("{}.{:016x}", "x".repeat(199), 0));
    }
}
