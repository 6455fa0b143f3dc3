//! WebSocket: a request that turns into a stream both ways (RFC 6455; over HTTP/2 RFC 8441).
//!
//! What follows 101, or the 200 to an extended CONNECT, is not HTTP any more: octets are carried as
//! they come, until both sides have ended or one is reset. The route's timeouts end with the answer;
//! a change of policy does not.

use futures::future::LocalBoxFuture;
use http::{HeaderValue, StatusCode};

use super::answer::download;
use super::body::{PumpError, Sink, Source, pump};
use super::cut::{Cut, cut, late};
use super::decide::Refusal;
use super::failure::Failure;
use super::frame::Broken;
use super::record::{Ending, Recording};
use super::refuse::client_failed;
use super::replay::RequestBody;
use super::request::Attempt;
use super::respond::Responder;
use super::upstream::Answer;

/// Asks the endpoint to switch; `None` when the client has its answer.
pub(super) async fn run(
    attempt: &Attempt<'_>,
    reused: bool,
    (mut sink, mut answer): (Sink<'_>, Answer<'_>),
    body: &mut RequestBody<'_, '_>,
    responder: &mut Option<Responder<'_>>,
    revoked: &mut LocalBoxFuture<'static, Refusal>,
    recording: &mut Recording,
) -> Option<Failure> {
    let stuck = attempt.session.engine.limits.stuck;
    let head = async {
        sink.flush(stuck).await?;
        loop {
            let response = answer.head().await?;
            // An interim response says nothing of the switch; nobody waits for one here.
            if !response.status().is_informational() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok::<_, Broken>(response);
            }
        }
    };
    let head = tokio::select! {
        biased;
        head = head => head,
        cut = cut(body, responder, attempt.deadline, revoked) => return Some(cut.into()),
    };
    let mut response = match head {
        Ok(response) => response,
        Err(broken) => return Some(Failure::broken(&broken, attempt, reused)),
    };
    let switched = match answer {
        Answer::Http1(_) => response.status() == StatusCode::SWITCHING_PROTOCOLS,
        Answer::Http2 { .. } => response.status().is_success(),
    };
    if let Some(change) = &attempt.forward.answer {
        change(&mut response);
    }
    let responder = responder.take()?;
    if !switched {
        sink.abort(h2::Reason::CANCEL);
        let nothing = std::pin::pin!(std::future::pending());
        download(attempt, response, answer, nothing, responder, revoked, recording).await;
        return None;
    }
    recording.answered(response.status(), response.headers());
    let mut out = match responder.switch(response, HeaderValue::from_static("websocket")) {
        Ok(out) => out,
        Err(broken) => {
            recording.end(client_failed(&broken), broken.to_string());
            return None;
        }
    };
    if let Err(broken) = out.flush(stuck).await {
        recording.end(client_failed(&broken), broken.to_string());
        return None;
    }
    let mut source = answer.body();
    let client = body.source();
    if let Source::Http1(client) = client {
        client.switch();
    }
    let (mut received, mut sent) = (0, 0);
    let both = async {
        tokio::try_join!(
            async {
                let carried = pump(client, &mut sink, stuck, |octets| received += octets as u64).await;
                carried.map_err(|error| match error {
                    PumpError::Source(broken) => (Side::Client, broken),
                    PumpError::Sink(broken) => (Side::Server, broken),
                })
            },
            async {
                let carried = pump(&mut source, &mut out, stuck, |octets| sent += octets as u64).await;
                carried.map_err(|error| match error {
                    PumpError::Source(broken) => (Side::Server, broken),
                    PumpError::Sink(broken) => (Side::Client, broken),
                })
            },
        )
    };
    let ended = tokio::select! {
        biased;
        ended = both => ended.map(drop),
        cut = late(None, revoked) => Err((Side::Mesh(cut), Broken::Reset(h2::Reason::CANCEL))),
    };
    recording.received += received;
    recording.sent += sent;
    match ended {
        Ok(()) => recording.end(Ending::Switched, ""),
        Err((side, broken)) => {
            sink.abort(h2::Reason::CANCEL);
            out.abort(broken.code());
            match side {
                Side::Client => recording.end(client_failed(&broken), broken.to_string()),
                Side::Mesh(Cut::Revoked(refusal)) => recording.end(refusal.ending, refusal.message),
                Side::Server | Side::Mesh(_) => {
                    recording.end(Ending::UpstreamReset, format!("{}: {broken}", attempt.endpoint));
                }
            }
        }
    }
    None
}

/// Who ended it.
enum Side {
    Client,
    Server,
    Mesh(Cut),
}
