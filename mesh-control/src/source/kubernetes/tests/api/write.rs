//! Single objects of a namespace: made, and replaced at the version that was read.

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming};
use serde_json::Value;

use super::{Body, World, refusal};

/// A kind's path, and namespace and name.
type Key = (String, String);

impl World {
    /// The next write is done, but whoever asked for it is told otherwise.
    pub(crate) fn lose_answer(&self) {
        self.lock().loses_answer = true;
    }

    /// Nobody may write what has this in its path.
    pub(crate) fn forbid(&self, part: Option<&'static str>) {
        self.lock().forbidden = part;
    }

    /// A single object.
    pub(crate) fn object(&self, path: &str, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(path.to_owned(), format!("{namespace}/{name}"))).cloned()
    }
}

/// What the path of a single object of a namespace means.
pub(super) fn single(path: &str) -> Option<Key> {
    let (root, rest) = path.split_once("/namespaces/")?;
    let mut parts = rest.split('/');
    let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((format!("{root}/{kind}"), format!("{namespace}/{name}")))
}

pub(super) async fn answer(world: &World, request: Request<Incoming>) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let object: Value = serde_json::from_slice(&body).unwrap();
    let mut inner = world.lock();
    inner.requests.push(format!("{path}?{method}"));
    if inner.forbidden.is_some_and(|part| path.contains(part)) {
        return refusal(403, "is forbidden");
    }
    if method == Method::PATCH {
        return super::patch::answer(&mut inner, &path, &object);
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = if method == Method::POST { single(&format!("{path}/{name}")) } else { single(&path) };
    let Some(key) = key else { return refusal(405, "not served here") };
    let there = inner.objects.get(&key).map(|object| object["metadata"]["resourceVersion"].clone());
    let asked = &object["metadata"]["resourceVersion"];
    match (method, there) {
        (Method::POST, None) => {}
        (Method::POST, Some(_)) => return refusal(409, "already exists"),
        (Method::PUT, None) => return refusal(404, "not found"),
        (Method::PUT, Some(there)) if asked.is_null() || *asked == there => {}
        (Method::PUT, Some(_)) => return refusal(409, "the object has been modified"),
        _ => return refusal(405, "not served here"),
    }
    inner.version += 1;
    let mut object = object;
    object["metadata"]["resourceVersion"] = inner.version.to_string().into();
    inner.objects.insert(key, object.clone());
    if std::mem::take(&mut inner.loses_answer) {
        return refusal(504, "timeout");
    }
    Response::new(Full::new(object.to_string().into()).boxed())
}
