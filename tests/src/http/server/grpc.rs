//! Calls of gRPC: every message comes back as it was sent, the first with what the server saw in front of it.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt as _, Either};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::{
    super::{grpc::Messages, piped::piped, steer},
    Shared,
    answer::{Body, Steered, head},
};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Answers a call, unary or streaming.
pub(super) fn answer(
    request: Request<Incoming>,
    steered: Steered,
    peer: SocketAddr,
    shared: Arc<Shared>,
) -> Response<Body> {
    let count = steered.count(&shared);
    let failed = !steered.status(&shared, count).is_success();
    let unavailable = failed.then_some(14);
    let status = steered.number(steer::GRPC_STATUS).or(unavailable).unwrap_or_default();
    let grpc = HeaderValue::from_static("application/grpc");
    let seen = serde_json::to_string(&head(&request, peer, &shared.pod)).unwrap_or_default();
    let (pipe, body) = piped(None);
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    if let Some(count) = count {
        response.headers_mut().insert(steer::COUNT, count.into());
    }
    for (name, value) in steered.pairs(steer::HEADER) {
        response.headers_mut().append(name, value);
    }
    if failed {
        // Without a message the status may stand in the head: "Trailers-Only".
        response.headers_mut().insert(STATUS, HeaderValue::from(status));
        return response;
    }
    tokio::spawn(async move {
        let (mut body, mut messages, mut told) = (request.into_body(), Messages::default(), Some(seen));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.ok()?.into_data() else { continue };
            for message in messages.take(&data) {
                let message = told.take().map_or(message.clone(), |seen| format!("{seen}\n{message}"));
                pipe.send(Frame::data(Messages::framed(&message))).await.ok()?;
            }
        }
        let mut trailers: HeaderMap = steered.pairs(steer::TRAILER).into_iter().collect();
        trailers.insert(STATUS, HeaderValue::from(status));
        pipe.send(Frame::trailers(trailers)).await.ok()
    });
    response
}
