//! The answer to one request, steered by its headers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version as Spoken,
    body::{Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRAILER, UPGRADE},
};

use super::{
    super::{
        order::{Fields, Seen, Version},
        pattern::Pattern,
        piped::{Piped, piped},
        steer,
    },
    Shared, grpc, upgraded,
};

/// How much of a body is told as text.
const TOLD: usize = 1024;

/// The body of an answer.
pub(super) type Body = Either<Full<Bytes>, Piped>;

/// Answers; an error breaks the connection, or in HTTP/2 the stream.
pub(super) async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: Arc<Shared>,
) -> Result<Response<Body>, std::io::Error> {
    let steered = Steered(request.headers().clone());
    tokio::time::sleep(steered.milliseconds(steer::DELAY)).await;
    if steered.0.contains_key(steer::BREAK) {
        return Err(std::io::Error::other("asked to break"));
    }
    if request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT {
        return Ok(upgraded::answer(request, &shared));
    }
    let grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        return Ok(grpc::answer(request, steered, peer, shared));
    }
    tokio::time::sleep(steered.milliseconds(steer::STALL)).await;
    let count = steered.count(&shared);
    let status = steered.status(&shared, count);
    let seen = see(request, peer, &shared.pod).await.map_err(std::io::Error::other)?;
    let mut response = Response::new(steered.body(&seen));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(count) = count {
        headers.insert(steer::COUNT, count.into());
    }
    for (name, value) in steered.pairs(steer::HEADER) {
        headers.append(name, value);
    }
    for (name, _) in steered.pairs(steer::TRAILER) {
        headers.append(TRAILER, name.into());
    }
    if let Some(octets) = steered.number(steer::OCTETS) {
        headers.insert(CONTENT_LENGTH, octets.into());
    }
    Ok(response)
}

/// Reads the request to its end and tells of it.
async fn see(request: Request<Incoming>, peer: SocketAddr, pod: &str) -> Result<Seen, hyper::Error> {
    let mut seen = head(&request, peer, pod);
    let mut body = request.into_body();
    let (mut pattern, mut told) = (Pattern::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                pattern.check(&data);
                told.extend_from_slice(&data[..data.len().min(TOLD.saturating_sub(told.len()))]);
            }
            Err(frame) => seen.trailers = frame.trailers_ref().map(fields).unwrap_or_default(),
        }
    }
    (seen.length, seen.intact) = (pattern.length(), pattern.is_intact());
    if !seen.intact {
        seen.text = String::from_utf8_lossy(&told).into_owned();
    }
    Ok(seen)
}

/// What the head shows.
pub(super) fn head<B>(request: &Request<B>, peer: SocketAddr, pod: &str) -> Seen {
    let host = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let authority = request.uri().authority().map(ToString::to_string);
    let mut headers = fields(request.headers());
    headers.retain(|(name, _)| name != HOST.as_str());
    Seen {
        pod: pod.to_owned(),
        peer,
        version: if request.version() == Spoken::HTTP_2 { Version::Http2 } else { Version::Http1 },
        method: request.method().to_string(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: authority.or(host).unwrap_or_default(),
        headers,
        text: String::new(),
        length: 0,
        intact: true,
        trailers: Fields::new(),
    }
}

fn fields(headers: &HeaderMap) -> Fields {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(pair).collect()
}

/// The headers of the request that steer its answer.
pub(super) struct Steered(HeaderMap);

impl Steered {
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.to_str().ok()?.parse().ok()
    }

    fn milliseconds(&self, name: &str) -> Duration {
        Duration::from_millis(self.number(name).unwrap_or_default())
    }

    /// How many requests with the same key came before, if it has one.
    pub(super) fn count(&self, shared: &Shared) -> Option<u64> {
        let key = self.0.get(steer::KEY)?;
        Some(shared.count(&String::from_utf8_lossy(key.as_bytes())))
    }

    /// The status to answer with after so many others.
    pub(super) fn status(&self, shared: &Shared, count: Option<u64>) -> StatusCode {
        let wanted = self.number(steer::STATUS).and_then(|status| StatusCode::from_u16(status as u16).ok());
        match self.number(steer::FAIL) {
            Some(failures) if count.unwrap_or_default() >= failures => StatusCode::OK,
            Some(_) => wanted.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            None => wanted.or(StatusCode::from_u16(shared.args.status).ok()).unwrap_or(StatusCode::OK),
        }
    }

    /// The values `NAME=VALUE` of a header.
    pub(super) fn pairs(&self, header: &str) -> Vec<(HeaderName, HeaderValue)> {
        let pair = |value: &HeaderValue| {
            let (name, value) = value.to_str().ok()?.split_once('=')?;
            Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
        };
        self.0.get_all(header).iter().filter_map(pair).collect()
    }

    fn body(&self, seen: &Seen) -> Body {
        let text = serde_json::to_string(seen).unwrap_or_default() + "\n";
        let (octets, pieces) = (self.number(steer::OCTETS), self.number(steer::PIECES));
        let (trailers, pause) = (self.pairs(steer::TRAILER), self.milliseconds(steer::PAUSE));
        if octets.is_none() && pieces.is_none() && trailers.is_empty() && pause.is_zero() {
            return Either::Left(Full::from(text));
        }
        let (pipe, body) = piped(octets);
        tokio::spawn(async move {
            match octets {
                Some(octets) => {
                    tokio::time::sleep(pause).await;
                    let mut pattern = Pattern::new();
                    while let Some(piece) = pattern.next(octets) {
                        // An error: nobody reads any longer.
                        pipe.send(Frame::data(piece)).await.ok()?;
                    }
                }
                None => {
                    let size = text.len().div_ceil(pieces.unwrap_or(1).max(1) as usize);
                    for piece in text.as_bytes().chunks(size) {
                        tokio::time::sleep(pause).await;
                        pipe.send(Frame::data(Bytes::copy_from_slice(piece))).await.ok()?;
                    }
                }
            }
            if !trailers.is_empty() {
                pipe.send(Frame::trailers(trailers.into_iter().collect())).await.ok()?;
            }
            Some(())
        });
        Either::Right(body)
    }
}
