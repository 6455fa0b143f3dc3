//! One request on its way to an endpoint, and what comes back, in either version of HTTP.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, ready};

use http::{Method, Request, Response, StatusCode, Version};

use super::body::{Sink, Source};
use super::frame::Broken;
use super::http1::framing::{self, Length};
use super::http1::head::{self as http1_head, BadHead, Kind};
use super::http1::wire::{HeadError, Reader};
use super::http1::{Body, Outgoing};
use super::limits::Limits;
use super::pool::{http1, http2};
use super::{http2 as h2_bodies, message};

/// A connection to an endpoint, or a share of one, for one request.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// All of a connection.
    Http1(http1::Lease),
    /// A stream of a connection.
    Http2(http2::Lease),
}

/// What is asked of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// The head, in the one form.
    pub head: &'a Request<()>,
    /// It asks for a WebSocket.
    pub websocket: bool,
    /// Nothing follows the head.
    pub ended: bool,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Random octets.
    pub random: u128,
    /// Bounds.
    pub limits: &'a Limits,
}

impl Upstream {
    /// Whether the connection was used before: its other end may have closed it meanwhile.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.reused,
            Self::Http2(lease) => lease.reused,
        }
    }

    /// Sends the head; gives back where the body goes and where the answer comes from.
    ///
    /// # Errors
    /// When nothing of it was sent.
    pub(crate) fn start<'a>(&'a mut self, asking: &Asking<'a>) -> Result<(Sink<'a>, Answer<'a>), Broken> {
        let Asking { head, websocket, ended, endpoint, random, limits } = *asking;
        let dialled = endpoint.to_string();
        match self {
            Self::Http1(lease) => {
                let (head, length) = message::to_http1(head, websocket, ended, random, &dialled);
                let (reader, writer, rest) = lease.parts();
                writer.head(|buffer| http1_head::write_request(buffer, &head));
                let length = if websocket { Length::UntilClose } else { length };
                let sink = Sink::Http1(Outgoing::new(writer, length));
                let answer = Http1Answer {
                    reader,
                    rest,
                    method: head.method().clone(),
                    limits,
                    content: Length::None,
                };
                Ok((sink, Answer::Http1(answer)))
            }
            Self::Http2(lease) => {
                let head = message::to_http2(head, websocket, &dialled)
                    .map_err(|_| Broken::Malformed("the request has no form in HTTP/2"))?;
                let (response, stream) = lease.send(head, ended)?;
                let sink = Sink::Http2(h2_bodies::Outgoing::new(stream, ended));
                Ok((sink, Answer::Http2 { response, content: None }))
            }
        }
    }

    /// What to set when the exchange went to its end on both sides: the connection may carry another.
    pub(crate) fn finished(&self) -> Rc<Cell<bool>> {
        match self {
            Self::Http1(lease) => lease.finished(),
            // Its streams do not depend on each other.
            Self::Http2(_) => Rc::default(),
        }
    }
}

/// What answers.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// A connection of HTTP/1.
    Http1(Http1Answer<'a>),
    /// A stream of HTTP/2.
    Http2 {
        /// The head that comes.
        response: h2::client::ResponseFuture,
        /// What follows it.
        content: Option<h2::RecvStream>,
    },
}

/// An answer in HTTP/1.
#[derive(Debug)]
pub(crate) struct Http1Answer<'a> {
    reader: &'a mut Reader,
    rest: &'a http1::Rest,
    method: Method,
    limits: &'a Limits,
    content: Length,
}

impl<'a> Answer<'a> {
    /// The next head, in the one form: of an interim response, or of the final one.
    ///
    /// # Errors
    /// When none comes that is one.
    pub(crate) async fn head(&mut self) -> Result<Response<()>, Broken> {
        let mut response = match self {
            Self::Http1(answer) => answer.head().await?,
            Self::Http2 { response, content } => {
                let (head, stream) = poll_fn(|context| {
                    if let Some(interim) = ready!(response.poll_informational(context)) {
                        return Poll::Ready(interim.map(|interim| (interim, None)));
                    }
                    std::pin::Pin::new(&mut *response).poll(context).map_ok(|response| {
                        let (parts, stream) = response.into_parts();
                        (Response::from_parts(parts, ()), Some(stream))
                    })
                })
                .await
                .map_err(|error| Broken::of_h2(&error))?;
                *content = stream;
                head
            }
        };
        message::returned(&mut response);
        Ok(response)
    }

    /// The body that follows the final head.
    pub(crate) fn body(self) -> Source<'a> {
        match self {
            Self::Http1(answer) => {
                Source::Http1(Body::new(answer.reader, answer.content, answer.limits.trailer_octets))
            }
            Self::Http2 { content: Some(stream), .. } => Source::Http2(h2_bodies::Body::new(stream)),
            Self::Http2 { content: None, .. } => Source::Empty,
        }
    }
}

impl Http1Answer<'_> {
    async fn head(&mut self) -> Result<Response<()>, Broken> {
        let head = match self.reader.head(Kind::Response, self.limits.head_octets).await {
            Ok(Some(head)) => head,
            Ok(None) => return Err(Broken::Lost("the server closed it without an answer".to_owned())),
            Err(HeadError::Broken(broken)) => return Err(broken),
            Err(HeadError::Bad(BadHead { status: StatusCode::BAD_REQUEST, .. })) => {
                return Err(Broken::Malformed("what the server answers is not HTTP/1"));
            }
            Err(HeadError::Bad(_)) => return Err(Broken::TooLarge("the head of the answer is too large")),
        };
        let response = http1_head::response(&head)?;
        let (status, headers) = (response.status(), response.headers());
        self.content = framing::of_response(&self.method, status, response.version(), headers)
            .map_err(|_| Broken::Malformed("an answer without a clear end"))?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.content = Length::UntilClose;
        }
        if !status.is_informational() {
            let persists = response.version() == Version::HTTP_11 && self.content != Length::UntilClose;
            self.rest.said(persists, headers);
        }
        Ok(response)
    }
}
