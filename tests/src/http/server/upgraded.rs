//! WebSocket: text comes back as it was sent, by `Upgrade` (RFC 6455) and by extended CONNECT (RFC 8441).

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use hyper_util::rt::TokioIo;

use super::{super::websocket, Shared, answer::Body};

/// Names the pod that switched.
const POD: HeaderName = HeaderName::from_static("x-pod");

/// Switches, or says why not.
pub(super) fn answer(mut request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::new())));
    let headers = response.headers_mut();
    if let Ok(pod) = HeaderValue::from_str(&shared.pod) {
        headers.insert(POD, pod);
    }
    if let Some(id) = request.headers().get("x-request-id") {
        headers.insert("x-request-id", id.clone());
    }
    let wants = |name: &HeaderName| request.headers().get(name).is_some_and(|value| value == "websocket");
    if request.version() == Version::HTTP_11 {
        let key = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
        let (true, Some(key)) = (wants(&UPGRADE), key) else {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        if let Ok(accept) = HeaderValue::from_str(&websocket::accept(key)) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    } else if request
        .extensions()
        .get::<hyper::ext::Protocol>()
        .is_none_or(|asked| asked.as_str() != "websocket")
    {
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        return response;
    }
    let switched = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(switched.await.ok()?);
        while let Ok(Some(text)) = websocket::read(&mut stream).await {
            websocket::write(&mut stream, &text, false).await.ok()?;
        }
        Some(())
    });
    response
}
