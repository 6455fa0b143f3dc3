//! As much of an API server as following one needs: lists, streamed or in pages of two, watches that
//! go on from a version, and versions that are forgotten; and single objects that are read and [written](write).

mod patch;
mod write;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinHandle,
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};

type Body = BoxBody<Bytes, Infallible>;

/// A server that can be taken away and brought back.
pub(crate) struct Api {
    address: SocketAddr,
    pub(crate) world: Arc<World>,
    running: Option<JoinHandle<()>>,
}

/// What the server has.
#[derive(Default)]
pub(crate) struct World(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    version: u64,
    /// Versions before this are forgotten.
    oldest: u64,
    /// What a list that is to be streamed is answered with.
    no_streaming: Option<(u16, &'static str)>,
    /// Objects of a page.
    page: usize,
    /// So many more questions for its readiness are answered with no.
    unready: usize,
    /// By path of the kind and name; the objects as they are served.
    objects: BTreeMap<(String, String), Value>,
    /// Every event so far: version, path, type and object.
    events: Vec<(u64, String, &'static str, Value)>,
    watchers: Vec<Watcher>,
    requests: Vec<String>,
    /// The next write is done, and its answer is lost.
    loses_answer: bool,
    /// Writes of these paths are forbidden.
    forbidden: Option<&'static str>,
    /// Paths that begin so are not found.
    unserved: Vec<&'static str>,
}

struct Watcher {
    path: String,
    metadata_only: bool,
    to: UnboundedSender<Bytes>,
}

impl Api {
    pub(crate) async fn start(world: World) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(world);
        let running = Some(tokio::spawn(serve(listener, world.clone())));
        Self { address, world, running }
    }

    pub(crate) fn client(&self) -> Client {
        let mut config = Config::new(format!("http://{}", self.address).parse().unwrap());
        config.default_retry = false;
        config.accept_invalid_certs = true;
        Client::try_from(config).unwrap()
    }

    /// Every connection breaks, and nothing listens.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
        let mut inner = self.world.lock();
        inner.watchers.clear();
        inner.requests.clear();
    }

    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.running = Some(tokio::spawn(serve(listener, self.world.clone())));
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// With the definitions of our kinds.
    pub(crate) fn with_definitions(self) -> Self {
        for name in ["meshconfigs", "accesspolicies", "clusteraccesspolicies"] {
            self.define(name);
        }
        self
    }

    pub(crate) fn define(&self, name: &str) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.put(path, "", &format!("{name}.mesh.internal"), json!({}));
    }

    /// The definition of a kind of route.
    pub(crate) fn define_route(&self, name: &str) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.put(path, "", &format!("{name}.gateway.networking.k8s.io"), json!({}));
    }

    /// Nothing is found below this path.
    pub(crate) fn serves_not(&self, path: &'static str) {
        self.lock().unserved.push(path);
    }

    pub(crate) fn without_streaming(self) -> Self {
        self.lock().no_streaming = Some((422, "sendInitialEvents is forbidden"));
        self
    }

    pub(crate) fn with_pages_of(self, objects: usize) -> Self {
        self.lock().page = objects;
        self
    }

    /// As a new one over an old etcd says it.
    pub(crate) fn without_progress(self) -> Self {
        self.lock().no_streaming =
            Some((500, "etcdserver: the required storage feature RequestWatchProgress is disabled"));
        self
    }

    pub(crate) fn put(&self, path: &str, namespace: &str, name: &str, more: Value) {
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version;
        let mut object = json!({"metadata": {"name": name, "resourceVersion": version.to_string(),
            "managedFields": [{"manager": "kubectl"}]}});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
        let mut more = more.as_object().unwrap().clone();
        if let Some(Value::Object(metadata)) = more.remove("metadata") {
            object["metadata"].as_object_mut().unwrap().extend(metadata);
        }
        object.as_object_mut().unwrap().extend(more);
        let key = (path.to_owned(), format!("{namespace}/{name}"));
        let type_ = if inner.objects.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        inner.tell(path, type_, object);
    }

    pub(crate) fn remove(&self, path: &str, namespace: &str, name: &str) {
        let mut inner = self.lock();
        inner.version += 1;
        let key = (path.to_owned(), format!("{namespace}/{name}"));
        let mut object = inner.objects.remove(&key).unwrap();
        object["metadata"]["resourceVersion"] = inner.version.to_string().into();
        inner.tell(path, "DELETED", object);
    }

    /// Something that is no event, to everybody who watches this.
    pub(crate) fn babble(&self, path: &str) {
        for watcher in self.lock().watchers.iter().filter(|watcher| watcher.path == path) {
            let _ = watcher.to.send(Bytes::from_static(b"{\"type\":\n"));
        }
    }

    /// It is not ready for as many questions.
    pub(crate) fn not_ready(&self, questions: usize) {
        self.lock().unready = questions;
    }

    /// Nobody can go on from where they are.
    pub(crate) fn forget(&self) {
        let mut inner = self.lock();
        inner.version += 1;
        inner.oldest = inner.version;
        inner.events.clear();
    }

    /// The requests since the start or the last stop.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }
}

impl Inner {
    fn tell(&mut self, path: &str, type_: &'static str, object: Value) {
        for watcher in self.watchers.iter().filter(|watcher| watcher.path == path) {
            let _ = watcher.to.send(line(type_, &object, watcher.metadata_only));
        }
        self.events.push((self.version, path.to_owned(), type_, object));
    }

    fn of(&self, path: &str, selector: Option<&String>) -> Vec<Value> {
        let namespaced = path.split_once("/namespaces/").and_then(|(root, rest)| {
            let (namespace, kind) = rest.split_once('/')?;
            Some((format!("{root}/{kind}"), format!("{namespace}/")))
        });
        let (path, prefix) = namespaced.unwrap_or((path.to_owned(), String::new()));
        let name = selector.and_then(|selector| selector.strip_prefix("metadata.name="));
        let all = self.objects.iter().filter(|((of, key), _)| *of == path && key.starts_with(&prefix));
        let one = all.filter(|((_, key), _)| name.is_none_or(|name| key.ends_with(&format!("/{name}"))));
        one.map(|(_, object)| object.clone()).collect()
    }
}

fn line(type_: &str, object: &Value, metadata_only: bool) -> Bytes {
    let object = if metadata_only {
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
    } else {
        object.clone()
    };
    (json!({"type": type_, "object": object}).to_string() + "\n").into()
}

async fn serve(listener: TcpListener, world: Arc<World>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let world = world.clone();
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async {
                let response = match *request.method() {
                    Method::GET => answer(&world, &request),
                    _ => write::answer(&world, request).await,
                };
                Ok::<_, Infallible>(response)
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(world: &World, request: &Request<Incoming>) -> Response<Body> {
    let mut inner = world.lock();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let fields: BTreeMap<String, String> = query
        .split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("%3D", "=")))
        .collect();
    if path == "/readyz" {
        let Some(left) = inner.unready.checked_sub(1) else {
            return Response::new(Full::new(Bytes::from_static(b"ok")).boxed());
        };
        inner.unready = left;
        return refusal(500, "informer-sync failed");
    }
    inner.requests.push(format!("{path}?{query}"));
    if inner.unready > 0 {
        return refusal(429, "storage is (re)initializing");
    }
    let is = |field: &str| fields.get(field).is_some_and(|value| value == "true");
    let accept = request.headers().get("accept").map(|accept| accept.to_str().unwrap().to_owned());
    let metadata_only = accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
    let selector = fields.get("fieldSelector");
    if let Some(kind) = path.strip_prefix("/apis/mesh.internal/v1alpha1/") {
        let definitions = inner.of("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", None);
        let name = format!("{kind}.mesh.internal");
        if !definitions.iter().any(|definition| definition["metadata"]["name"] == name) {
            return refusal(404, "the server could not find the requested resource");
        }
    }
    if inner.unserved.iter().any(|unserved| path.starts_with(unserved)) {
        return refusal(404, "the server could not find the requested resource");
    }
    if let Some(key) = write::single(&path) {
        let object =
            inner.objects.get(&key).map(|object| Response::new(Full::new(object.to_string().into()).boxed()));
        return object.unwrap_or_else(|| refusal(404, "not found"));
    }
    if !is("watch") {
        // A list, in pages of two.
        let all = inner.of(&path, selector);
        let from: usize = fields.get("continue").map_or(0, |token| token.parse().unwrap());
        let to = from + inner.page.max(2);
        let items: Vec<_> = all.iter().take(to).skip(from).cloned().collect();
        let next = if to < all.len() { to.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": inner.version.to_string(), "continue": next});
        let list = json!({"kind": "List", "metadata": metadata, "items": items}).to_string();
        return Response::new(Full::new(Bytes::from(list)).boxed());
    }
    let (to, events) = unbounded_channel();
    if is("sendInitialEvents") {
        if let Some((code, message)) = inner.no_streaming {
            return refusal(code, message);
        }
        for object in inner.of(&path, selector) {
            let _ = to.send(line("ADDED", &object, metadata_only));
        }
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": inner.version.to_string(), "annotations": annotations});
        let _ = to.send(line("BOOKMARK", &json!({"metadata": metadata}), metadata_only));
    } else {
        let from: u64 = fields["resourceVersion"].parse().unwrap();
        if from < inner.oldest {
            return refusal(410, "too old resource version");
        }
        for (version, of, type_, object) in &inner.events {
            if *version > from && *of == path {
                let _ = to.send(line(type_, object, metadata_only));
            }
        }
    }
    inner.watchers.push(Watcher { path, metadata_only, to });
    let body = UnboundedReceiverStream::new(events).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    Response::new(BoxBody::new(StreamBody::new(body)))
}

fn refusal(code: u16, message: &str) -> Response<Body> {
    let reason = if code == 404 { "NotFound" } else { "" };
    let status =
        json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": reason});
    let mut response = Response::new(Full::new(Bytes::from(status.to_string())).boxed());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response
}
