//! Answers that the engine makes itself.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{Response, StatusCode};

use super::Session;
use super::decide::Refusal;
use super::frame::Broken;
use super::http1::head::BadHead;
use super::record::{DENIED_BY, Ending, REASON, Recording};
use super::respond::Responder;

impl From<&BadHead> for Refusal {
    fn from(bad: &BadHead) -> Self {
        let ending = match bad.status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => Ending::HeadTooLarge,
            StatusCode::REQUEST_TIMEOUT => Ending::ClientTimeout,
            _ => Ending::BadRequest,
        };
        Self::new(bad.status, ending, bad.why.clone())
    }
}

/// The response that says a refusal: a line of text, or, of a gRPC call, gRPC's status without a
/// message ("Trailers-Only" of gRPC over HTTP/2).
pub(crate) fn response(refusal: &Refusal, grpc: bool) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    if grpc {
        let status = refusal.grpc.unwrap_or_else(|| nearest(refusal.status));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(status));
        if let Ok(message) = HeaderValue::from_str(&escaped(&refusal.message)) {
            headers.insert("grpc-message", message);
        }
    } else {
        let body = Bytes::from(format!("{}\n", refusal.message));
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = body;
    }
    let wants_upgrade = response.status() == StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(refusal.ending.name()));
    if wants_upgrade {
        // RFC 9110, 15.5.22; RFC 6455, 4.4.
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if let Some(denied_by) = &refusal.denied_by {
        headers.insert(DENIED_BY, denied_by.clone());
    }
    response
}

/// The status of gRPC that says about the same ("HTTP to gRPC Status Code Mapping" of gRPC).
fn nearest(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Answers with a refusal.
pub(super) async fn refuse(
    session: &Session,
    refusal: Refusal,
    grpc: bool,
    responder: Responder<'_>,
    recording: &mut Recording,
) {
    let answered = response(&refusal, grpc);
    recording.end(refusal.ending, if refusal.detail.is_empty() { refusal.message } else { refusal.detail });
    answer(session, answered, responder, recording).await;
}

/// Answers with a whole response.
pub(super) async fn answer(
    session: &Session,
    response: Response<Bytes>,
    responder: Responder<'_>,
    recording: &mut Recording,
) {
    recording.answered(response.status(), response.headers());
    let octets = response.body().len() as u64;
    match responder.whole(response, session.engine.limits.stuck).await {
        Ok(()) => recording.sent += octets,
        Err(broken) => recording.end(client_failed(&broken), broken.to_string()),
    }
}

/// How a request ends whose client failed.
pub(super) fn client_failed(broken: &Broken) -> Ending {
    match broken {
        Broken::Stuck(_) => Ending::ClientStuck,
        Broken::Malformed(_) | Broken::TooLarge(_) => Ending::BadRequest,
        Broken::Reset(_) | Broken::Unprocessed(_) | Broken::Lost(_) => Ending::ClientGone,
    }
}

/// Percent-encodes what `grpc-message` may not hold.
fn escaped(message: &str) -> String {
    let mut escaped = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => escaped.push_str(&format!("%{byte:02X}")),
            byte => escaped.push(char::from(byte)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Refusal, response};
    use crate::relay::engine::record::Ending;
    use http::{HeaderValue, StatusCode};

    #[test]
    fn a_refusal_says_why_in_the_form_of_the_call() {
        let mut refusal = Refusal::new(StatusCode::FORBIDDEN, Ending::Denied, "not for you: 100% é");
        refusal.denied_by = Some(HeaderValue::from_static("bank/vault tellers"));
        let plain = response(&refusal, false);
        assert_eq!(
            (plain.status().as_u16(), plain.body().as_ref()),
            (403, "not for you: 100% é\n".as_bytes())
        );
        assert_eq!(plain.headers()["x-mesh-denied-by"], "bank/vault tellers");
        assert_eq!(plain.headers()["x-mesh-reason"], "Denied");
        let grpc = response(&refusal, true);
        assert_eq!((grpc.status().as_u16(), grpc.body().len()), (200, 0));
        assert_eq!(grpc.headers()["grpc-status"], "7");
        assert_eq!(grpc.headers()["grpc-message"], "not for you: 100%25 %C3%A9");
        assert_eq!(grpc.headers()["x-mesh-denied-by"], "bank/vault tellers");
    }
}
