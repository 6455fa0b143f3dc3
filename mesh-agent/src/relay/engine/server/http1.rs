//! The requests of one client's connection, one after another (RFC 9112, 9.3).

use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use mesh_l7::head::hop::has_option as says;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::relay::engine::body::Source;
use crate::relay::engine::decide::Refusal;
use crate::relay::engine::frame::Frame;
use crate::relay::engine::http1::head::{self, BadHead, Kind};
use crate::relay::engine::http1::wire::{HeadError, Reader, Writer, split};
use crate::relay::engine::http1::{Body, framing};
use crate::relay::engine::record::{Ending, Recording};
use crate::relay::engine::respond::{Http1, Persistence, Responder};
use crate::relay::engine::{Io, Session, exchange, message, refuse};

/// Serves a connection to its end; `first` was read from it already.
pub(crate) async fn serve(session: &Rc<Session>, stream: Io, first: Bytes) {
    let (mut reader, mut writer) = split(stream, first);
    loop {
        match next(session, &mut reader).await {
            Next::Request(head) => match head::request(&head) {
                Ok(head) => {
                    // Apart, so that a connection that rests is small.
                    if !Box::pin(one(session, head, &mut reader, &mut writer)).await {
                        break;
                    }
                }
                Err(bad) => {
                    refuse(session, &bad, &mut writer).await;
                    break;
                }
            },
            Next::Bad(bad) => {
                refuse(session, &bad, &mut writer).await;
                break;
            }
            Next::Leave => break,
            Next::Lost => return,
        }
    }
    if !writer.is_aborted() {
        leave(session, &mut reader, &mut writer).await;
    }
}

/// What comes next.
enum Next {
    Request(Bytes),
    Bad(BadHead),
    /// Nothing, and there is nothing to say.
    Leave,
    /// The client has gone.
    Lost,
}

async fn next(session: &Rc<Session>, reader: &mut Reader) -> Next {
    let limits = &session.engine.limits;
    reader.skip_empty_lines();
    while reader.is_empty() {
        let filled = tokio::select! {
            biased;
            filled = reader.fill() => filled,
            () = session.engine.draining() => return Next::Leave,
            () = sleep(limits.idle) => return Next::Leave,
        };
        match filled {
            Ok(0) => return Next::Leave,
            Ok(_) => reader.skip_empty_lines(),
            Err(_) => return Next::Lost,
        }
    }
    match timeout(limits.head_within, reader.head(Kind::Request, limits.head_octets)).await {
        Ok(Ok(Some(head))) => Next::Request(head),
        Ok(Ok(None)) => Next::Leave,
        Ok(Err(HeadError::Bad(bad))) => Next::Bad(bad),
        Ok(Err(HeadError::Broken(_))) => Next::Lost,
        Err(_) => Next::Bad(BadHead::new(
            StatusCode::REQUEST_TIMEOUT,
            "the head of the request did not come in time",
        )),
    }
}

/// Serves one request; whether the connection can have another.
async fn one(session: &Rc<Session>, head: Request<()>, reader: &mut Reader, writer: &mut Writer) -> bool {
    let limits = &session.engine.limits;
    let (method, version) = (head.method().clone(), head.version());
    let waits = head.headers().contains_key(http::header::EXPECT);
    let (says_close, says_keep) = (says(head.headers(), "close"), says(head.headers(), "keep-alive"));
    let length = framing::of_request(version, head.headers());
    let arrived = length.map_err(BadHead::from).and_then(|length| Ok((length, message::arrive(head)?)));
    let (length, arrived) = match arrived {
        Ok(arrived) => arrived,
        Err(bad) => {
            refuse(session, &bad, writer).await;
            return false;
        }
    };
    let persists = version == Version::HTTP_11 || says_keep;
    let persistence = Persistence::new(persists && !says_close);
    let mut body = Source::Http1(Body::new(reader, length, limits.trailer_octets));
    let responder = Responder::Http1(Http1 {
        writer,
        method,
        version,
        persistence: &persistence,
        engine: &session.engine,
    });
    exchange::serve(session, arrived, &mut body, responder).await;
    if !persistence.is_answered() {
        // A client that waits for an answer must not take the end for one.
        writer.abort();
        return false;
    }
    // A client that waits for `100 Continue` may send its body or not, after another answer.
    let rest_is_known = body.is_ended() || !waits;
    persistence.holds() && rest_is_known && drained(session, &mut body).await && !writer.is_aborted()
}

/// Reads what is left of a body, if that is little.
async fn drained(session: &Rc<Session>, body: &mut Source<'_>) -> bool {
    if body.is_ended() {
        return true;
    }
    let limits = &session.engine.limits;
    let rest = async {
        let mut left = limits.rest_octets;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let Some(less) = left.checked_sub(frame.octets() as u64) else { return false };
            left = less;
            if matches!(frame, Frame::Trailers(_)) {
                break;
            }
        }
        true
    };
    timeout(limits.rest_within, rest).await.unwrap_or(false)
}

/// Answers a request that is none, and tells of it.
async fn refuse(session: &Rc<Session>, bad: &BadHead, writer: &mut Writer) {
    let mut recording = Recording::start(session.tell(), Version::HTTP_11);
    let refusal = Refusal::from(bad);
    let response = refuse::response(&refusal, false);
    recording.answered(response.status(), response.headers());
    recording.end(refusal.ending, refusal.message);
    let persistence = Persistence::new(false);
    let engine = &session.engine;
    let http1 =
        Http1 { writer, method: Method::GET, version: Version::HTTP_11, persistence: &persistence, engine };
    if let Err(broken) = Responder::Http1(http1).whole(response, session.engine.limits.stuck).await {
        recording.end(Ending::ClientGone, broken.to_string());
    }
}

/// Ends the connection in order: what the client still sends is read for a moment, or else the reset
/// that its kernel gets would take the answer from it (RFC 9112, 9.6).
async fn leave(session: &Rc<Session>, reader: &mut Reader, writer: &mut Writer) {
    writer.shutdown().await;
    let until = Instant::now() + session.engine.limits.rest_within;
    let mut left = session.engine.limits.rest_octets;
    while let Ok(Ok(read @ 1..)) = timeout_at(until, reader.fill()).await {
        reader.forget();
        left = left.saturating_sub(read as u64);
        if left == 0 {
            return;
        }
    }
}
