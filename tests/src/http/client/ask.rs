//! One request and its whole answer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::{Frame, Incoming},
    header::{HOST, HeaderName, HeaderValue},
    http::{request::Builder, uri::PathAndQuery},
};

use super::{
    super::{
        grpc::Messages,
        order::{Answer, Content, Fields, Head, Order, Version},
        pattern::Pattern,
        piped::{Piped, piped},
    },
    Progress, Step,
    connection::{Body, Connections},
    whole,
};

/// How much of an answer is told as text.
const TOLD: usize = 64 << 10;

/// Asks, and reads the answer to its end.
pub(super) async fn ask(
    order: &Order,
    start: Instant,
    connections: &Connections,
    progress: &mut Progress,
) -> Result<Answer, Step> {
    let (head, response) = begin(order, body(order), connections, progress).await?;
    tokio::time::sleep(Duration::from_millis(order.stall_milliseconds)).await;
    let mut body = response.into_body();
    let (mut pattern, mut told, mut trailers) = (Pattern::new(), Vec::new(), Fields::new());
    let (mut messages, mut all) = (Messages::default(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| ("read", whole(&error)))?.into_data() {
            Ok(data) => {
                pattern.check(&data);
                progress.received = pattern.length();
                told.extend_from_slice(&data[..data.len().min(TOLD.saturating_sub(told.len()))]);
                if matches!(order.content, Content::Messages(_)) {
                    all.extend(messages.take(&data));
                }
            }
            Err(frame) => trailers = frame.trailers_ref().map(fields).unwrap_or_default(),
        }
    }
    Ok(Answer {
        head,
        trailers,
        text: if pattern.is_intact() { String::new() } else { String::from_utf8_lossy(&told).into_owned() },
        length: pattern.length(),
        intact: pattern.is_intact(),
        messages: all,
        milliseconds: start.elapsed().as_millis() as u64,
    })
}

/// Sends the request with this body, and gives the head of its answer.
pub(super) async fn begin(
    order: &Order,
    body: Body,
    connections: &Connections,
    progress: &mut Progress,
) -> Result<(Head, Response<Incoming>), Step> {
    let mut request = request(order, body)?;
    let interim = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&interim);
    hyper::ext::on_informational(&mut request, move |response| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(response.status().as_u16());
    });
    let (response, local) = connections.send(order, request).await?;
    let status = response.status().as_u16();
    progress.status = Some(status);
    let interim = interim.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((Head { local, status, headers: fields(response.headers()), interim }, response))
}

/// The head as the version has it.
fn request(order: &Order, body: Body) -> Result<Request<Body>, Step> {
    let failed = |error: &dyn std::error::Error| ("ask", whole(error));
    let is_http2 = order.version == Version::Http2;
    let target: PathAndQuery = order.target.parse().map_err(|error| failed(&error))?;
    let mut uri = hyper::http::uri::Parts::default();
    uri.path_and_query = Some(target);
    if is_http2 {
        uri.scheme = Some("http".parse().map_err(|error| failed(&error))?);
        uri.authority = Some(order.authority.parse().map_err(|error| failed(&error))?);
    }
    let uri = Uri::from_parts(uri).map_err(|error| failed(&error))?;
    let mut builder: Builder = Request::builder().uri(uri);
    if !is_http2 {
        builder = builder.header(HOST, &order.authority);
    }
    for (name, value) in &order.headers {
        builder = builder.header(name, value);
    }
    let is_web_socket = matches!(order.content, Content::WebSocket { .. });
    let mut method: Method = order.method.parse().map_err(|error| failed(&error))?;
    if is_web_socket {
        builder = builder.header("sec-websocket-version", "13");
        if is_http2 {
            method = Method::CONNECT;
            builder = builder.extension(hyper::ext::Protocol::from_static("websocket"));
        } else {
            builder = builder.header("upgrade", "websocket").header("connection", "upgrade");
            builder = builder.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
    }
    if matches!(order.content, Content::Messages(_) | Content::Conversation { .. }) {
        builder = builder.header("content-type", "application/grpc").header("te", "trailers");
    }
    builder.method(method).body(body).map_err(|error| failed(&error))
}

fn body(order: &Order) -> Body {
    let whole = |bytes: Bytes| -> Body {
        if order.trailers.is_empty() {
            return Either::Left(Full::new(bytes));
        }
        let (pipe, body) = piped(None);
        let trailers: HeaderMap = order.trailers.iter().filter_map(pair).collect();
        tokio::spawn(async move {
            pipe.send(Frame::data(bytes)).await.ok()?;
            pipe.send(Frame::trailers(trailers)).await.ok()
        });
        Either::Right(body)
    };
    match &order.content {
        Content::Text(text) => whole(Bytes::copy_from_slice(text.as_bytes())),
        Content::Messages(all) => {
            whole(all.iter().flat_map(|text| Messages::framed(text)).collect::<Vec<u8>>().into())
        }
        Content::Octets { length, chunked } => Either::Right(octets(*length, *chunked)),
        Content::Nothing | Content::Conversation { .. } | Content::WebSocket { .. } => {
            Either::Left(Full::default())
        }
    }
}

fn octets(length: u64, chunked: bool) -> Piped {
    let (pipe, body) = piped((!chunked).then_some(length));
    tokio::spawn(async move {
        let mut pattern = Pattern::new();
        while let Some(piece) = pattern.next(length) {
            // An error: nobody takes it any longer.
            pipe.send(Frame::data(piece)).await.ok()?;
        }
        Some(())
    });
    body
}

fn pair((name, value): &(String, String)) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, value.parse().ok()?))
}

fn fields(headers: &HeaderMap) -> Fields {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(pair).collect()
}
