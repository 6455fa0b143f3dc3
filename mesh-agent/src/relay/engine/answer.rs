//! An answer on its way to the client, beside what of the request is on its way still.

use std::pin::Pin;

use futures::future::LocalBoxFuture;
use http::{HeaderMap, HeaderValue, Response};

use super::body::{PumpError, Sink, pump};
use super::cut::{Cut, late};
use super::decide::Refusal;
use super::record::{Ending, Recording};
use super::refuse::client_failed;
use super::request::Attempt;
use super::respond::Responder;
use super::upstream::Answer;

/// How an answer went to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Whole,
    Cut,
}

/// Sends the answer to the client.
pub(super) async fn download(
    attempt: &Attempt<'_>,
    response: Response<()>,
    answer: Answer<'_>,
    mut upload: Pin<&mut impl Future<Output = Cut>>,
    responder: Responder<'_>,
    revoked: &mut LocalBoxFuture<'static, Refusal>,
    recording: &mut Recording,
) -> Ended {
    let stuck = attempt.session.engine.limits.stuck;
    let mut source = answer.body();
    recording.answered(response.status(), response.headers());
    let mut out = match responder.start(response, source.is_ended()) {
        Ok(out) => out,
        Err(broken) => {
            recording.end(client_failed(&broken), broken.to_string());
            return Ended::Cut;
        }
    };
    let mut sent = 0;
    let done = tokio::select! {
        biased;
        done = pump(&mut source, &mut out, stuck, |octets| sent += octets as u64) => Ok(done),
        cut = upload.as_mut() => Err(cut),
        cut = late(attempt.deadline, revoked) => Err(cut),
    };
    recording.sent += sent;
    let (ending, detail, grpc, code) = match done {
        Ok(Ok(trailers)) => {
            if let Some(trailers) = trailers {
                recording.grpc(&trailers);
            }
            recording.end(Ending::Forwarded, "");
            return Ended::Whole;
        }
        Ok(Err(PumpError::Source(broken))) => {
            let detail = format!("{}: {broken}", attempt.endpoint);
            (Ending::UpstreamReset, detail, Some(14), broken.code())
        }
        Ok(Err(PumpError::Sink(broken))) | Err(Cut::Client(broken)) => {
            (client_failed(&broken), broken.to_string(), None, h2::Reason::CANCEL)
        }
        Err(Cut::Late { .. }) => {
            (Ending::TimedOut, "the answer took too long".to_owned(), Some(4), h2::Reason::CANCEL)
        }
        Err(Cut::Revoked(refusal)) => {
            (refusal.ending, refusal.message, Some(refusal.grpc.unwrap_or(7)), h2::Reason::CANCEL)
        }
    };
    recording.end(ending, detail);
    match grpc.filter(|_| attempt.request.grpc) {
        Some(status) if matches!(out, Sink::Http2(_)) => {
            recording.grpc_status = Some(status);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(status));
            trailers.insert("grpc-message", HeaderValue::from_static(ending.name()));
            // A client that has gone does not hear it.
            let _ = out.finish(Some(trailers), stuck).await;
        }
        _ => out.abort(code),
    }
    Ended::Cut
}
