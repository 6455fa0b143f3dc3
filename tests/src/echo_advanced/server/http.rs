//! HTTP/1.1, and HTTP/2 by prior knowledge or as TLS agreed: every request is answered with what it was.

use std::{convert::Infallible, sync::Arc};

use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, Version,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ends, Server};
use crate::echo_advanced::{
    Failure,
    lines::{Lines, title_case},
};

/// Serves a connection, on which TLS has agreed on this protocol.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    alpn: Option<String>,
    ends: Ends,
    server: Arc<Server>,
) -> Result<(), Failure> {
    let service = service_fn(|request: Request<Incoming>| {
        let mut response =
            Response::new(Full::new(Bytes::from(told(&request, alpn.as_deref(), ends, &server))));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
}

fn told(request: &Request<Incoming>, alpn: Option<&str>, ends: Ends, server: &Server) -> String {
    let mut headers = request.headers().clone();
    let mut lines = Lines::default();
    server.place(&mut lines, ends);
    lines.tell("Host", host(request, &mut headers));
    lines.tell("URL", request.uri().path_and_query().map_or("/", |target| target.as_str()));
    lines.tell("Method", request.method());
    lines.tell("Proto", protocol(request.version()));
    lines.caller(ends.caller);
    if let Some(alpn) = alpn {
        lines.tell("Alpn", alpn);
    }
    lines.headers("RequestHeader", &headers, title_case);
    server.sign(&mut lines);
    lines.into_text()
}

/// Whom the request is for; it is told of by itself and not among the headers.
fn host(request: &Request<Incoming>, headers: &mut HeaderMap) -> String {
    let header = headers.remove(HOST).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    request.uri().authority().map(ToString::to_string).or(header).unwrap_or_default()
}

fn protocol(version: Version) -> String {
    // The suite's servers give HTTP/2 a minor number.
    if version == Version::HTTP_2 { "HTTP/2.0".to_owned() } else { format!("{version:?}") }
}
