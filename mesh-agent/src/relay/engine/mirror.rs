//! Copies of requests, for another backend, whose answers nobody sees.
//!
//! A copy takes nothing from the request it is of: what it has no room for ends it, and so does its
//! own clock. Of all requests of a worker only so many copies are under way at once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::balance::pick;
use super::body::{Source, pump};
use super::connect::connect;
use super::decide::{Backend, Mirror};
use super::frame::Frame;
use super::replay::RequestBody;
use super::request::Request;
use super::upstream::Asking;
use super::{Session, message};

/// Frames that wait for a copy's backend.
const WAITING: usize = 8;

/// Starts copies of a request; whether there is one.
pub(super) fn start(
    session: &Rc<Session>,
    request: Request<'_>,
    mirrors: &[Mirror],
    body: &mut RequestBody<'_, '_>,
) -> bool {
    let mut mirrored = false;
    // A WebSocket is a conversation: no copy could answer in it.
    for mirror in mirrors.iter().filter(|_| !request.websocket) {
        let under_way = &session.engine.mirrors;
        if under_way.get() >= session.engine.limits.mirrors {
            tracing::debug!(backend = mirror.backend.name, "too many mirrored requests are under way");
            continue;
        }
        mirrored = true;
        let place = Place::take(under_way);
        let frames = (!body.is_ended()).then(|| {
            let (sender, frames) = mpsc::channel(WAITING);
            body.copy_to(sender);
            frames
        });
        let head = message::copy(request.head);
        let (session, backend) = (Rc::clone(session), Arc::clone(&mirror.backend));
        let grpc = request.grpc;
        spawn_local(async move {
            let _place = place;
            let request = Request { head: &head, websocket: false, grpc };
            let source = frames.map_or(Source::Empty, Source::Copy);
            let sent = send(&session, &backend, request, source);
            match timeout(session.engine.limits.mirror_within, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(trouble)) => {
                    tracing::debug!(backend = backend.name, trouble, "a mirrored request failed")
                }
                Err(_) => tracing::debug!(backend = backend.name, "a mirrored request took too long"),
            }
        });
    }
    mirrored
}

async fn send(
    session: &Session,
    backend: &Backend,
    request: Request<'_>,
    mut body: Source<'_>,
) -> Result<(), String> {
    let engine = &session.engine;
    let random = [engine.random(), engine.random()];
    let endpoint = pick(&engine.under_way, backend, &[], random).ok_or("no endpoint is ready")?;
    let _load = engine.under_way.enter(endpoint);
    let mut upstream =
        connect(session, backend, endpoint, &request).await.map_err(|failure| failure.to_string())?;
    let finished = upstream.finished();
    let asking = Asking {
        head: request.head,
        websocket: false,
        ended: body.is_ended(),
        endpoint,
        random: 0,
        limits: &engine.limits,
    };
    let (mut sink, mut answer) = upstream.start(&asking).map_err(|broken| broken.to_string())?;
    let stuck = engine.limits.stuck;
    let upload = async {
        pump(&mut body, &mut sink, stuck, |_| {}).await.map_err(|error| format!("{error:?}"))?;
        Ok::<_, String>(())
    };
    let download = async {
        while answer.head().await.map_err(|broken| broken.to_string())?.status().is_informational() {}
        let mut source = answer.body();
        while let Some(frame) = source.frame().await {
            let frame: Frame = frame.map_err(|broken| broken.to_string())?;
            source.taken(frame.octets());
        }
        Ok(())
    };
    tokio::try_join!(upload, download)?;
    finished.set(true);
    Ok(())
}

/// One of the copies under way.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(under_way: &Rc<Cell<usize>>) -> Self {
        under_way.set(under_way.get() + 1);
        Self(Rc::clone(under_way))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
