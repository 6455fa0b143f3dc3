//! A connection to an endpoint, in the version that its backend speaks.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Version;

use super::Session;
use super::decide::{Backend, DialFailure, Protocol};
use super::pool::Key;
use super::request::Request;
use super::upstream::Upstream;

/// A connection for the request, in the version that the backend speaks.
pub(super) async fn connect(
    session: &Session,
    backend: &Backend,
    endpoint: SocketAddr,
    request: &Request<'_>,
) -> Result<Upstream, DialFailure> {
    let received_in_http2 = request.head.version() == Version::HTTP_2;
    let wants_http2 = match backend.protocol {
        // gRPC is in HTTP/2 only, whatever the port is called.
        Protocol::Http1 => request.grpc && received_in_http2,
        Protocol::Http2 => true,
        Protocol::AsReceived => received_in_http2,
    };
    let key = Key {
        scope: Arc::clone(&session.scope),
        endpoint,
        kind: session.connection.dial.kind(backend, endpoint),
    };
    let dial = || session.connection.dial.dial(backend, endpoint);
    // A WebSocket that came by `Upgrade` is asked for so: what answers it is made of its key.
    if wants_http2 && (!request.websocket || received_in_http2) {
        let lease = session.pool.http2(&key, dial).await?;
        if !request.websocket || lease.takes_websockets().await {
            return Ok(Upstream::Http2(lease));
        }
    }
    session.pool.http1(&key, dial).await.map(Upstream::Http1)
}
