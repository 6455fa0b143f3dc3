//! `/metrics` and `/ready`, over TCP: the only thing relay shows the network.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;

use super::node::Node;
use super::serve::{self, Answer, answer};
use super::telemetry::{NodeTrust, Now};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// How soon an address that another relay of the node holds is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Serves at `address`, where `listener` listens; without one, as soon as the relay that this one replaces has let go
/// of it.
pub(crate) async fn run(node: Rc<Node>, address: SocketAddr, mut listener: Option<TcpListener>) {
    let listener = loop {
        if let Some(listener) = listener {
            break listener;
        }
        tokio::time::sleep(AGAIN).await;
        listener = serve::tcp(address).await.ok();
    };
    tracing::info!(%address, "metrics are served");
    serve::serve(listener, move |request| respond(Rc::clone(&node), request)).await;
}

/// Answers one request.
async fn respond(node: Rc<Node>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::GET {
        return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n");
    }
    match request.uri().path() {
        "/metrics" => match metrics(&node) {
            Ok(text) => answer(StatusCode::OK, OPENMETRICS, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        "/ready" => ready(&node),
        _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics and /ready\n"),
    }
}

/// Whether this relay is ready, and why not.
pub(super) fn ready(node: &Node) -> Answer {
    match node.unready().as_slice() {
        [] => answer(StatusCode::OK, TEXT, "ready\n"),
        reasons => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n"),
    }
}

fn metrics(node: &Node) -> Result<String, std::fmt::Error> {
    let now = Instant::now();
    let age = |at: Instant| now.saturating_duration_since(at);
    let time = SystemTime::now();
    let telemetry = node.telemetry.borrow();
    telemetry.metrics().now(&Now {
        wire_connected: node.link.connected.get(),
        counts_age: telemetry.last_counts().map(|(at, _)| age(*at)),
        discovery_connected: node.discovery.connected.get(),
        discovery_age: node.discovery.heard.get().map(age),
        snapshot_age: node.discovery.age(time),
        resources: &node.desired.borrow().counts(),
        tunnel: &node.tunnel,
        identities: &node.identities.standing(),
        trust: node_trust(node),
        time,
    });
    telemetry.metrics().text()
}

fn node_trust(node: &Node) -> NodeTrust {
    let bundle = node.trust.current();
    let certificate = node.discovery.certificate.borrow();
    NodeTrust {
        certificate_ends: certificate.as_ref().map(|certificate| certificate.not_after),
        roots: bundle.roots.len(),
        revoked: bundle.revoked.len(),
    }
}
