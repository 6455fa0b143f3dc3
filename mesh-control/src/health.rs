//! Whether the controller is alive and ready, for the kubelet: HTTP/1.1, `GET /live` and `GET /ready`.
//! Nothing else is told there, because anybody may ask.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::ads::Store;

/// Connections that are served at a time.
const CONNECTIONS: usize = 16;
/// A request must have arrived within this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection lasts no longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Serves the listener until the process ends. Ready is who has built once: before that it would tell
/// agents of nothing.
pub async fn serve(listener: TcpListener, store: Arc<Store>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let built = store.sequence();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (status, text) = answer(request.method(), request.uri().path(), *built.borrow() > 0);
                let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
                *response.status_mut() = status;
                async { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            // A client that breaks off is its own affair.
            let _ = timeout(LONGEST, server.serve_connection(TokioIo::new(stream), service)).await;
            drop(permit);
        });
    }
}

fn answer(method: &Method, path: &str, built: bool) -> (StatusCode, &'static str) {
    match (method, path) {
        (&Method::GET, "/live") => (StatusCode::OK, "live\n"),
        (&Method::GET, "/ready") if built => (StatusCode::OK, "ready\n"),
        (&Method::GET, "/ready") => {
            (StatusCode::SERVICE_UNAVAILABLE, "the source has not been read completely yet; see the log\n")
        }
        (_, "/live" | "/ready") => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
        _ => (StatusCode::NOT_FOUND, "there are GET /live and GET /ready\n"),
    }
}

#[cfg(test)]
mod tests {
    use hyper::{Method, StatusCode};

    use super::answer;

    #[test]
    fn ready_is_who_has_built() {
        assert_eq!(answer(&Method::GET, "/live", false).0, StatusCode::OK);
        assert_eq!(answer(&Method::GET, "/ready", false).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&Method::GET, "/ready", true).0, StatusCode::OK);
        assert_eq!(answer(&Method::POST, "/ready", true).0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer(&Method::GET, "/metrics", true).0, StatusCode::NOT_FOUND);
    }
}
