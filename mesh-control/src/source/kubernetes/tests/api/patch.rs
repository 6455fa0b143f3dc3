//! Statuses that are applied, and events that happen again.

use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use serde_json::{Value, json};

use super::{Body, Inner, World, refusal, write::single};

impl World {
    /// Every object of a kind.
    pub(crate) fn all(&self, path: &str) -> Vec<Value> {
        self.lock().of(path, None)
    }
}

/// Answers a PATCH.
pub(super) fn answer(inner: &mut Inner, path: &str, patch: &Value) -> Response<Body> {
    let (of, is_status) = path.strip_suffix("/status").map_or((path, false), |of| (of, true));
    // Objects without a namespace are not written below one.
    let key = single(of).or_else(|| {
        let (kind, name) = of.rsplit_once('/')?;
        Some((kind.to_owned(), format!("/{name}")))
    });
    let Some((key, mut object)) = key.and_then(|key| Some((key.clone(), inner.objects.get(&key)?.clone())))
    else {
        return refusal(404, "not found");
    };
    if is_status {
        let (uid, there) = (&patch["metadata"]["uid"], &object["metadata"]["uid"]);
        if !uid.is_null() && uid != there {
            return refusal(409, "Precondition failed: UID in precondition");
        }
        let (version, there) =
            (&patch["metadata"]["resourceVersion"], &object["metadata"]["resourceVersion"]);
        if !version.is_null() && version != there {
            return refusal(409, "the object has been modified");
        }
        if patch["status"]["parents"].is_array() {
            object["status"]["parents"] = patch["status"]["parents"].clone();
        } else {
            apply(&mut object, &patch["status"]["conditions"]);
        }
    } else {
        object.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    }
    inner.version += 1;
    object["metadata"]["resourceVersion"] = inner.version.to_string().into();
    inner.objects.insert(key.clone(), object.clone());
    inner.tell(&key.0, "MODIFIED", object.clone());
    Response::new(Full::new(object.to_string().into()).boxed())
}

/// What was applied before and is not any more goes; what others wrote stays.
fn apply(object: &mut Value, conditions: &Value) {
    let applied = conditions.as_array().cloned().unwrap_or_default();
    let types = |conditions: &[Value]| -> Vec<Value> {
        conditions.iter().map(|condition| condition["type"].clone()).collect()
    };
    let mut dropped = object["applied"].as_array().cloned().unwrap_or_default();
    dropped.extend(types(&applied));
    let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|condition| !dropped.contains(&condition["type"]));
    object["applied"] = types(&applied).into();
    all.extend(applied);
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    object["status"]["conditions"] = all.into();
}
