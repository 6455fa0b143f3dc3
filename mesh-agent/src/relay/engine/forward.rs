//! A request on its way to a backend: attempts, one after another, until one has an answer.
//!
//! Nothing has gone to the client before an attempt has its answer, and nothing is tried again after
//! that. Whether it is tried again is `mesh_l7::retry`'s to say, with one addition: a connection that
//! rested may have been closed by its server in the very moment that it was taken (RFC 9112, 9.3.1).
//! That is no fault of the endpoint's and no attempt: the request goes out again at once where that is
//! safe, on another connection.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::{FutureExt, LocalBoxFuture};
use http::StatusCode;
use mesh_l7::retry::{Attempted, Next, Outcome};
use tokio::time::sleep;

use super::body::Source;
use super::cut::{Cut, cut};
use super::decide::{Forward, Refusal};
use super::failure::{Failure, too_late};
use super::record::{Ending, Recording};
use super::refuse::{client_failed, refuse};
use super::replay::RequestBody;
use super::request::{Attempt, Request};
use super::respond::Responder;
use super::{Session, attempt, balance, mirror};

/// How often a connection may turn out to be closed before it counts as an attempt.
const STALE: u32 = 3;

/// Forwards a request and answers it, whatever comes of it.
pub(crate) async fn run(
    session: &Rc<Session>,
    request: Request<'_>,
    mut forward: Forward,
    body: &mut Source<'_>,
    responder: Responder<'_>,
    recording: &mut Recording,
) {
    let limits = &session.engine.limits;
    let kept = Rc::clone(&session.engine.kept);
    let mut body = RequestBody::new(body, limits.replay_octets, kept, limits.replay_octets_of_all);
    recording.mirrored = mirror::start(session, request, &forward.mirrors, &mut body);
    let mut revoked = match forward.revoked.take() {
        Some(revoked) => revoked,
        None => std::future::pending().boxed_local(),
    };
    let mut responder = Some(responder);
    let failure =
        attempts(session, request, &forward, &mut body, &mut responder, &mut revoked, recording).await;
    recording.received += body.replay().received();
    let (Some(failure), Some(responder)) = (failure, responder) else { return };
    match failure {
        Failure::Cut(Cut::Client(broken)) => {
            let refusal = match client_failed(&broken) {
                ending @ Ending::BadRequest => {
                    Refusal::new(StatusCode::BAD_REQUEST, ending, broken.to_string())
                }
                // Nothing was written yet, so it is the body that did not come.
                Ending::ClientStuck => {
                    let late = "the body of the request did not come in time";
                    Refusal::new(StatusCode::REQUEST_TIMEOUT, Ending::ClientTimeout, late)
                }
                ending => return recording.end(ending, broken.to_string()),
            };
            refuse(session, refusal, request.grpc, responder, recording).await;
        }
        Failure::Cut(Cut::Revoked(refusal)) | Failure::Attempt { refusal, .. } => {
            refuse(session, refusal, request.grpc, responder, recording).await;
        }
        Failure::Cut(Cut::Late { .. }) => {
            refuse(session, too_late(), request.grpc, responder, recording).await;
        }
    }
}

/// Makes attempts until one has answered (`None`) or there is no other.
async fn attempts(
    session: &Rc<Session>,
    request: Request<'_>,
    forward: &Forward,
    body: &mut RequestBody<'_, '_>,
    responder: &mut Option<Responder<'_>>,
    revoked: &mut LocalBoxFuture<'static, Refusal>,
    recording: &mut Recording,
) -> Option<Failure> {
    let began = recording.started();
    let (mut tried, mut retries, mut stale) = (Vec::new(), 0, 0);
    loop {
        let random = [session.engine.random(), session.engine.random()];
        let Some(index) = balance::index(&session.engine.under_way, &forward.backend, &tried, random) else {
            return Some(Failure::no_endpoint(&forward.backend));
        };
        let endpoint = forward.backend.endpoints[index];
        recording.attempts += 1;
        recording.endpoint = Some(endpoint);
        forward.endpoint.set(Some(endpoint));
        body.rewind();
        let replay = Rc::clone(body.replay());
        let random = session.engine.random();
        let again = |outcome: Outcome| {
            let next = forward.retry.as_ref()?.next(
                &Attempted {
                    retries,
                    outcome,
                    method: request.head.method(),
                    replayable: replay.is_possible(),
                    now: Instant::now(),
                    deadline: forward.timeouts.request_ends(began),
                },
                random,
            );
            match next {
                Next::After(pause) => Some(pause),
                Next::GiveUp | Next::OutOfTime => None,
            }
        };
        let attempt = Attempt {
            session,
            request,
            forward,
            endpoint,
            deadline: forward.timeouts.attempt_ends(began, Instant::now()),
        };
        let failure = attempt::run(&attempt, body, responder, revoked, recording, &again).await?;
        let pause = match &failure {
            Failure::Attempt { outcome, stale: true, .. }
                if stale < STALE && is_safe(*outcome, request, &replay) =>
            {
                stale += 1;
                recording.attempts -= 1;
                continue;
            }
            Failure::Attempt { outcome, .. } => again(*outcome),
            Failure::Cut(Cut::Late { whole: false }) => again(Outcome::TimedOut),
            Failure::Cut(_) => None,
        };
        let Some(pause) = pause else { return Some(failure) };
        tracing::debug!(%endpoint, ?failure, ?pause, "a request is tried again");
        retries += 1;
        tried.push(index);
        if let Some(cut) = rest(pause, body, responder, revoked).await {
            return Some(Failure::Cut(cut));
        }
    }
}

/// Whether a request may go out again although a connection was lost under it.
fn is_safe(outcome: Outcome, request: Request<'_>, replay: &super::replay::Replay) -> bool {
    replay.is_possible() && (outcome == Outcome::NotSent || request.head.method().is_idempotent())
}

/// Waits before the next attempt.
async fn rest(
    pause: Duration,
    body: &mut RequestBody<'_, '_>,
    responder: &mut Option<Responder<'_>>,
    revoked: &mut LocalBoxFuture<'static, Refusal>,
) -> Option<Cut> {
    tokio::select! {
        () = sleep(pause) => None,
        cut = cut(body, responder, None, revoked) => Some(cut),
    }
}
