//! Calls over gRPC, all on one connection: what tells them apart on the way sees requests and not connections.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Uri,
    body::Bytes,
    client::conn::http2::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{AGENT, Answered, Args, Begun, TEXT, Target};
use crate::echo_advanced::{BODY_LIMIT, Failure, grpc, lines::lower_case};

/// The connection of all calls.
pub(super) type Channel = SendRequest<Full<Bytes>>;

pub(super) async fn connect(target: &Target) -> Result<Channel, Failure> {
    let stream = TokioIo::new(target.connect().await?);
    let (sender, connection) = handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

pub(super) async fn call(channel: &Channel, args: &Args, begun: &Begun) -> Result<Answered, Failure> {
    let mut channel = channel.clone();
    channel.ready().await?;
    let (head, body) = channel.send_request(request(args)?).await?.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await?;
    let outcome = body.trailers().and_then(grpc::outcome).or_else(|| grpc::outcome(&head.headers));
    outcome.unwrap_or_else(|| Err(format!("HTTP status {}, and no gRPC status", head.status.as_u16())))?;
    let mut answered = Answered { body: grpc::unframed(&body.to_bytes())?, ..Answered::default() };
    begun.tell(&mut answered.seen);
    answered.after.headers("ResponseHeader", &head.headers, lower_case);
    Ok(answered)
}

fn request(args: &Args) -> Result<Request<Full<Bytes>>, Failure> {
    let mut authority = args.url.authority.as_str();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &args.headers {
        match HeaderName::from_bytes(name.as_bytes())? {
            HOST => authority = value,
            name => drop(headers.append(name, HeaderValue::from_str(value)?)),
        }
    }
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(grpc::PATH).build()?;
    let body = Full::new(grpc::framed(TEXT.to_owned()));
    let mut request = Request::builder().method(Method::POST).uri(uri).body(body)?;
    *request.headers_mut() = headers;
    Ok(request)
}
