//! A call over HTTP/1.1 on a connection of its own, with TLS if the URL says so. Redirects are told and not followed.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::Builder,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{AGENT, Answered, Args, Begun, Scheme, tls};
use crate::echo_advanced::{BODY_LIMIT, Failure, lines::title_case};

pub(super) async fn call(args: &Args, begun: &Begun) -> Result<Answered, Failure> {
    let target = &args.url;
    let mut answered = Answered::default();
    answered.seen.tell("Url", &target.url);
    for (name, value) in &args.headers {
        answered.seen.tell("Header", format_args!("{name}:{value}"));
    }
    let request = request(args)?;
    let stream = target.connect().await?;
    answered.seen.tell("SourceIP", stream.local_addr()?.ip().to_canonical());
    let response = match target.scheme {
        Scheme::Https => exchange(tls::over(stream, &target.host).await?, request).await?,
        _ => exchange(stream, request).await?,
    };
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await?.to_bytes();
    begun.tell(&mut answered.seen);
    answered.seen.tell("StatusCode", head.status.as_u16());
    answered.seen.headers("ResponseHeader", &head.headers, title_case);
    answered.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answered)
}

fn request(args: &Args) -> Result<Request<Empty<Bytes>>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(&args.url.authority)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if [Method::POST, Method::PUT, Method::PATCH].contains(&args.method) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    for (name, value) in &args.headers {
        let (name, value) = (HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        // A header that this program sends by itself is replaced.
        if name == HOST || name == USER_AGENT {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    let mut request = Request::builder().method(&args.method).uri(&args.url.path).body(Empty::new())?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    let (mut sender, connection) =
        Builder::new().title_case_headers(true).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
