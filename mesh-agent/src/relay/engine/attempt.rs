//! One attempt: a connection, the request on it, the answer from it.
//!
//! Request and answer go at the same time, as they come: a server may answer before it has read the
//! request to its end, and both sides of a gRPC stream talk at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use http::StatusCode;
use mesh_l7::retry::Outcome;
use tokio::time::timeout;

use super::answer::{Ended, download};
use super::body::{PumpError, Sink, pump};
use super::connect::connect;
use super::cut::{Cut, cut, late};
use super::decide::Refusal;
use super::failure::{Failure, answered_badly};
use super::frame::Broken;
use super::record::Recording;
use super::replay::RequestBody;
use super::request::Attempt;
use super::respond::Responder;
use super::upstream::Asking;
use super::websocket;

/// Whether the request went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    UnderWay,
    Whole,
    /// The endpoint wants no more of it.
    Stopped,
}

/// Makes the attempt; `None` when its answer went to the client, whole or not.
pub(super) async fn run(
    attempt: &Attempt<'_>,
    body: &mut RequestBody<'_, '_>,
    responder: &mut Option<Responder<'_>>,
    revoked: &mut LocalBoxFuture<'static, Refusal>,
    recording: &mut Recording,
    again: &impl Fn(Outcome) -> Option<Duration>,
) -> Option<Failure> {
    let Attempt { session, request, endpoint, deadline, .. } = attempt;
    let limits = &session.engine.limits;
    let _load = session.engine.under_way.enter(*endpoint);
    let connected = tokio::select! {
        biased;
        connected = connect(session, &attempt.forward.backend, *endpoint, request) => connected,
        cut = cut(body, responder, *deadline, revoked) => return Some(cut.into()),
    };
    let mut upstream = match connected {
        Ok(upstream) => upstream,
        Err(failure) => return Some(Failure::not_connected(&failure, attempt)),
    };
    let (reused, finished) = (upstream.is_reused(), upstream.finished());
    let asking = Asking {
        head: request.head,
        websocket: request.websocket,
        ended: body.is_ended() && !request.websocket,
        endpoint: *endpoint,
        random: u128::from(session.engine.random()) << 64 | u128::from(session.engine.random()),
        limits,
    };
    let (mut sink, mut answer) = match upstream.start(&asking) {
        Ok(started) => started,
        Err(broken) => return Some(Failure::broken(&broken, attempt, reused)),
    };
    if request.websocket {
        return websocket::run(attempt, reused, (sink, answer), body, responder, revoked, recording).await;
    }
    let replay = Rc::clone(body.replay());
    let state = Cell::new(Upload::UnderWay);
    let mut upload = pin!(upload(body, &mut sink, limits.stuck, &state));
    let answered = loop {
        let client = responder.as_mut()?;
        let head = tokio::select! {
            biased;
            head = answer.head() => head,
            cut = &mut upload => return Some(cut.into()),
            broken = client.gone() => return Some(Cut::Client(broken).into()),
            cut = late(*deadline, revoked) => return Some(cut.into()),
        };
        match head {
            Err(broken) => break Err(broken),
            Ok(interim) if interim.status().is_informational() => {
                if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                    break Err(Broken::Malformed("the server switches protocols unasked"));
                }
                if let Err(broken) = client.interim(interim, limits.stuck).await {
                    return Some(Cut::Client(broken).into());
                }
            }
            Ok(response) => break Ok(response),
        }
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(broken) => return Some(Failure::broken(&broken, attempt, reused)),
    };
    if again(Outcome::Status(response.status())).is_some() {
        // Nothing more comes on its connection.
        finished.set(answer.body().is_ended() && state.get() == Upload::Whole);
        return Some(answered_badly(&response, attempt));
    }
    replay.settle();
    if let Some(change) = &attempt.forward.answer {
        change(&mut response);
    }
    let ended =
        download(attempt, response, answer, upload.as_mut(), responder.take()?, revoked, recording).await;
    if ended == Ended::Whole && finish(upload, &state, limits.rest_within).await {
        finished.set(true);
    }
    None
}

/// Sends the request's body, and then waits until the client goes; ends only with what ends the
/// request.
async fn upload(
    body: &mut RequestBody<'_, '_>,
    sink: &mut Sink<'_>,
    stuck: Duration,
    state: &Cell<Upload>,
) -> Cut {
    match pump(body, sink, stuck, |_| {}).await {
        Ok(_) => state.set(Upload::Whole),
        Err(PumpError::Source(broken)) => {
            sink.abort(h2::Reason::CANCEL);
            return Cut::Client(broken);
        }
        Err(PumpError::Sink(Broken::Stuck(_))) => return Cut::Late { whole: true },
        // Its answer may be on its way all the same.
        Err(PumpError::Sink(_)) => state.set(Upload::Stopped),
    }
    Cut::Client(body.source().gone().await)
}

/// After the answer is whole: whether the request is, too. A moment is given to what is on its way.
async fn finish(
    mut upload: Pin<&mut impl Future<Output = Cut>>,
    state: &Cell<Upload>,
    within: Duration,
) -> bool {
    let whole = poll_fn(|context| match state.get() {
        Upload::Whole => Poll::Ready(true),
        Upload::Stopped => Poll::Ready(false),
        Upload::UnderWay => match upload.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if state.get() == Upload::Whole => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        },
    });
    timeout(within, whole).await.unwrap_or(false)
}
