//! gRPC: answers the text of a call with what the call was.

use std::{convert::Infallible, sync::Arc};

use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Ends, Server};
use crate::echo_advanced::{
    BODY_LIMIT, Failure,
    grpc::{self, INTERNAL, OK, UNIMPLEMENTED},
    lines::{Lines, lower_case},
};

/// Serves a connection.
pub(super) async fn serve(stream: TcpStream, ends: Ends, server: Arc<Server>) -> Result<(), Failure> {
    let service = service_fn(|request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(request, ends, &server).await) }
    });
    Ok(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?)
}

async fn answer(
    request: Request<Incoming>,
    ends: Ends,
    server: &Server,
) -> Response<BoxBody<Bytes, Infallible>> {
    if request.uri().path() != grpc::PATH {
        return failed(UNIMPLEMENTED, "only proto.EchoTestService/Echo is served");
    }
    let (head, body) = request.into_parts();
    let message = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => grpc::unframed(&body.to_bytes()).map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let message = match message {
        Ok(message) => message,
        Err(failure) => return failed(INTERNAL, &failure.to_string()),
    };
    let host = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut lines = Lines::default();
    lines.tell("Host", &host);
    lines.tell("RequestHeader", format_args!(":authority:{host}"));
    lines.headers("RequestHeader", &head.headers, lower_case);
    lines.tell("StatusCode", 200);
    server.place(&mut lines, ends);
    lines.caller(ends.caller);
    lines.tell("Proto", "GRPC");
    lines.tell("Echo", message);
    server.sign(&mut lines);
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static(grpc::STATUS), HeaderValue::from_static(OK))]);
    let body = Full::new(grpc::framed(lines.into_text()));
    typed(Response::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed()))
}

/// An answer without a message: its headers are its trailers.
fn failed(status: &'static str, why: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = typed(Response::new(BoxBody::default()));
    response.headers_mut().insert(grpc::STATUS, HeaderValue::from_static(status));
    if let Ok(why) = HeaderValue::from_str(why) {
        response.headers_mut().insert(grpc::MESSAGE, why);
    }
    response
}

fn typed(mut response: Response<BoxBody<Bytes, Infallible>>) -> Response<BoxBody<Bytes, Infallible>> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}
