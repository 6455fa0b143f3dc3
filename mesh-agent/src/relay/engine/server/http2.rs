//! The requests of one client's HTTP/2 connection, each a task of its own.
//!
//! `h2` answers 431 to heads over the bound and ends the connection (GOAWAY, ENHANCE_YOUR_CALM)
//! where a peer resets streams before they were accepted, or floods it with CONTINUATION, SETTINGS or
//! PING. What it cannot see is a peer that lets requests be accepted and sent on and resets them
//! then (CVE-2023-44487): of those it has a bounded number, which grows back ([`Patience`]).

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::relay::engine::body::Source;
use crate::relay::engine::decide::Refusal;
use crate::relay::engine::http2::{Body, FRAME, OF_CLIENTS, SEND_BUFFER};
use crate::relay::engine::patience::Patience;
use crate::relay::engine::record::{Ending, Recording};
use crate::relay::engine::respond::Responder;
use crate::relay::engine::{Io, Session, exchange, message, refuse};

/// How long farewells may take.
const FAREWELL_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Serves a connection to its end.
pub(crate) async fn serve(session: Rc<Session>, stream: Io) {
    let limits = session.engine.limits.clone();
    let preface = h2::server::Builder::new()
        .initial_window_size(OF_CLIENTS.stream)
        .initial_connection_window_size(OF_CLIENTS.connection)
        .max_frame_size(FRAME)
        .max_header_list_size(u32::try_from(limits.head_octets).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(stream);
    let mut connection = match timeout(limits.head_within, preface).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return broken(&session, &error),
        Err(_) => return,
    };
    let patience = Rc::new(Patience::default());
    let mut leaving = false;
    loop {
        tokio::select! {
            request = connection.accept() => match request {
                Some(Ok((request, respond))) => {
                    spawn_local(one(Rc::clone(&session), request, respond, Rc::clone(&patience)));
                }
                Some(Err(error)) => return broken(&session, &error),
                None => return,
            },
            () = patience.lost() => {
                let mut recording = Recording::start(session.tell(), http::Version::HTTP_2);
                recording.end(Ending::BadRequest, "the client resets requests faster than is reasonable");
                connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                let closed = std::future::poll_fn(|context| connection.poll_closed(context));
                let _ = timeout(FAREWELL_WITHIN, closed).await;
                return;
            }
            () = session.engine.draining(), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = sleep(limits.idle), if !leaving => {
                // Requests hold it by reference: with none, nobody else does.
                if Rc::strong_count(&patience) == 1 {
                    leaving = true;
                    connection.graceful_shutdown();
                }
            }
        }
    }
}

/// Tells of a connection that broke the rules; one that was lost is no news.
fn broken(session: &Rc<Session>, error: &h2::Error) {
    if error.is_library() && !error.is_io() {
        let mut recording = Recording::start(session.tell(), http::Version::HTTP_2);
        recording.end(Ending::BadRequest, format!("the client breaks the rules of HTTP/2: {error}"));
    }
}

async fn one(
    session: Rc<Session>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    patience: Rc<Patience>,
) {
    let (parts, stream) = request.into_parts();
    let head = Request::from_parts(parts, ());
    let version = head.version();
    let mut body = Source::Http2(Body::new(stream));
    let responder = Responder::Http2(respond);
    let arrived = message::arrive(head);
    match arrived {
        Ok(arrived) => {
            if exchange::serve(&session, arrived, &mut body, responder).await == Ending::ClientGone {
                patience.spend(Instant::now());
            }
        }
        Err(bad) => {
            let mut recording = Recording::start(session.tell(), version);
            let refusal = Refusal::from(&bad);
            let response = refuse::response(&refusal, false);
            recording.answered(response.status(), response.headers());
            recording.end(refusal.ending, refusal.message);
            // A client that has gone does not hear it.
            let _ = responder.whole(response, session.engine.limits.stuck).await;
        }
    }
}
