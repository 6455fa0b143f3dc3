//! The admin socket: HTTP/1.1 with JSON. `GET /status` tells how the controller and the nodes are;
//! [`authority`] has what is about certificates, [`mod@routes`] what is wrong with the routes of a Service.

mod authority;
mod routes;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_api::condition::Condition;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, sync::Semaphore};

use crate::{
    ca::Authority,
    pipeline::Shared,
    status::{enrolments, report, with_enrolments},
};

/// Connections that are served at a time.
const CONNECTIONS: usize = 32;
/// A request must have arrived within this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// The number of changes that were built so far.
    pub sequence: u64,
    /// Why the source cannot be read now.
    pub source_error: Option<String>,
    /// Every node that is known or connected.
    pub nodes: Vec<NodeStatus>,
    /// Every object that has conditions.
    pub objects: Vec<ObjectStatus>,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Whether its agent has a stream.
    pub connected: bool,
    /// How many resources of each kind it is to have.
    pub resources: BTreeMap<String, usize>,
    /// What it refused.
    pub refused: Vec<RefusedResource>,
}

/// A resource that a node refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedResource {
    /// The resource's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The version that was refused.
    pub version: String,
    /// What the agent says.
    pub error: String,
}

/// An object's conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Empty for a file of the source.
    pub api_version: String,
    /// The kind; `File` for a file of the source.
    pub kind: String,
    /// Empty for cluster scope.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// Serves the socket until the process ends.
pub async fn serve(listener: UnixListener, shared: Arc<Shared>, authority: Arc<Authority>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, authority) = (shared.clone(), authority.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (shared, authority) = (shared.clone(), authority.clone());
                // What changes the authority waits for where its state is kept.
                let answered = tokio::task::spawn_blocking(move || respond(&request, &shared, &authority));
                async {
                    let stopping = || refuse(StatusCode::SERVICE_UNAVAILABLE, "the controller is stopping");
                    Ok::<_, Infallible>(answered.await.unwrap_or_else(|_| stopping()))
                }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            // A client that breaks off is its own affair.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

fn respond(request: &Request<Incoming>, shared: &Shared, authority: &Authority) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => json(&status(shared)),
        (&Method::GET, "/routes") => routes::respond(request.uri().query(), shared),
        (_, "/status") => refuse(StatusCode::METHOD_NOT_ALLOWED, "GET only"),
        (method, path) => {
            let answered = authority::respond(method, path, request.uri().query(), authority);
            answered.unwrap_or_else(|| {
                let there_is =
                    "there are GET /status, GET /routes?service=NAMESPACE/NAME, GET /ca, GET /identities, POST /ca/rotate and POST /join?node=N";
                refuse(StatusCode::NOT_FOUND, there_is)
            })
        }
    }
}

fn json<T: Serialize>(value: &T) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// As the agents' admin sockets refuse.
fn refuse(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": error });
    answer(status, "application/json", body.to_string())
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

/// How things are now.
pub fn status(shared: &Shared) -> StatusReport {
    let acks = shared.acks.snapshot();
    let conditions = shared.conditions().borrow().clone();
    let mut nodes: BTreeMap<Arc<str>, bool> =
        shared.store.nodes().into_iter().map(|node| (node, false)).collect();
    nodes.extend(acks.keys().map(|node| (node.clone(), true)));
    let node_status = |(name, connected): (Arc<str>, bool)| {
        let refused = acks.get(&name).into_iter().flat_map(|answers| &answers.refused);
        NodeStatus {
            connected,
            resources: shared
                .store
                .count(&name)
                .into_iter()
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            refused: refused
                .map(|(key, refusal)| RefusedResource {
                    kind: key.kind.name().to_owned(),
                    name: key.name.to_string(),
                    version: refusal.version.clone(),
                    error: refusal.error.clone(),
                })
                .collect(),
            name: name.to_string(),
        }
    };
    let objects = report(&conditions, &shared.store, &shared.acks);
    let standings = enrolments(&conditions, &shared.reports, &shared.acks, Instant::now());
    let objects = with_enrolments(objects, standings).into_iter();
    StatusReport {
        sequence: *shared.store.sequence().borrow(),
        source_error: shared.source_error(),
        nodes: nodes.into_iter().map(node_status).collect(),
        objects: objects
            .map(|(reference, conditions)| ObjectStatus {
                api_version: reference.api_version,
                kind: reference.kind,
                namespace: reference.name.namespace,
                name: reference.name.name,
                conditions,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
