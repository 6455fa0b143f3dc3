//! HTTP/1.1: answers who called, and plays a health endpoint that can be made to fail.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Shared, accept, shown};

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, peer) = accept(&listener, &shared).await;
        let local = stream.local_addr().ok();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&request, peer, local, &shared).await) }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                println!("{peer}: {error}");
            }
        });
    }
}

async fn answer(
    request: &Request<Incoming>,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    shared: &Shared,
) -> Response<Full<Bytes>> {
    shared.delay().await;
    let health = |status: StatusCode| (status, format!("{status}\n"));
    let (status, body) = match request.uri().path() {
        "/healthz" if shared.healthy.load(Ordering::Relaxed) => health(StatusCode::OK),
        "/healthz" => health(StatusCode::SERVICE_UNAVAILABLE),
        "/fail" => {
            shared.healthy.store(false, Ordering::Relaxed);
            health(StatusCode::OK)
        }
        "/recover" => {
            shared.healthy.store(true, Ordering::Relaxed);
            health(StatusCode::OK)
        }
        _ => (StatusCode::OK, told(request, peer, local, shared)),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

fn told(request: &Request<Incoming>, peer: SocketAddr, local: Option<SocketAddr>, shared: &Shared) -> String {
    let mut text = format!(
        "Hostname={}\nSourceIP={}\nSourcePort={}\nMethod={}\nPath={}\n",
        shared.hostname,
        peer.ip(),
        peer.port(),
        request.method(),
        request.uri()
    );
    if let Some(local) = local.map(shown) {
        text.push_str(&format!("LocalIP={}\nLocalPort={}\n", local.ip(), local.port()));
    }
    for (name, value) in request.headers() {
        text.push_str(&format!("RequestHeader={name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text
}
