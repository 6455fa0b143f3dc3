//! The way back to a client: interim responses, then one final one.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Response, StatusCode, Version};

use super::body::Sink;
use super::frame::Broken;
use super::http1::Outgoing;
use super::http1::framing::Length;
use super::http1::head;
use super::http1::wire::Writer;
use super::{Engine, http2, message};

/// Where one request's response goes.
pub(crate) enum Responder<'a> {
    /// A connection of HTTP/1.
    Http1(Http1<'a>),
    /// A stream of HTTP/2.
    Http2(SendResponse<Bytes>),
}

/// What a response needs to know of its request, in HTTP/1.
pub(crate) struct Http1<'a> {
    /// Where it is written.
    pub writer: &'a mut Writer,
    /// The method of the request.
    pub method: Method,
    /// The version of the request.
    pub version: Version,
    /// Whether the connection is used again.
    pub persistence: &'a Persistence,
    /// Whose end is the connection's, too.
    pub engine: &'a Engine,
}

/// Whether a connection of HTTP/1 is used again after a request.
#[derive(Debug)]
pub(crate) struct Persistence {
    /// The client wants it, and nothing speaks against it.
    wanted: Cell<bool>,
    /// There was an answer: without one, the next answer would be taken for it.
    answered: Cell<bool>,
}

impl Persistence {
    /// As the request says.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted: Cell::new(wanted), answered: Cell::new(false) }
    }

    /// Whether it is.
    pub(crate) fn holds(&self) -> bool {
        self.wanted.get() && self.answered.get()
    }

    /// Whether the request has an answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }
}

impl<'a> Responder<'a> {
    /// Sends an interim response (RFC 9110, 15.2).
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub(crate) async fn interim(&mut self, response: Response<()>, stuck: Duration) -> Result<(), Broken> {
        match self {
            // RFC 9110, 15.2: HTTP/1.0 has none.
            Self::Http1(http1) if http1.version == Version::HTTP_10 => Ok(()),
            Self::Http1(http1) => http1.writer.interim(&response, stuck).await,
            Self::Http2(respond) => {
                respond.send_informational(response).map_err(|error| Broken::of_h2(&error))
            }
        }
    }

    /// Waits until the client gives the request up.
    pub(crate) async fn gone(&mut self) -> Broken {
        match self {
            // The other half hears that.
            Self::Http1(_) => std::future::pending().await,
            Self::Http2(respond) => match poll_fn(|context| respond.poll_reset(context)).await {
                Ok(reason) => Broken::Reset(reason),
                Err(error) => Broken::of_h2(&error),
            },
        }
    }

    /// Sends the head of the response, and gives back where its body goes; `ended`: there is none.
    ///
    /// # Errors
    /// When the client has gone.
    pub(crate) fn start(self, mut response: Response<()>, ended: bool) -> Result<Sink<'a>, Broken> {
        match self {
            Self::Http1(http1) => {
                let length = message::delimit(&mut response, &http1.method, http1.version, ended);
                if length == Length::UntilClose || http1.engine.is_draining() {
                    http1.persistence.wanted.set(false);
                }
                http1.say_persistence(&mut response);
                http1.writer.head(|buffer| head::write_response(buffer, &response));
                Ok(Sink::Http1(Outgoing::new(http1.writer, length)))
            }
            Self::Http2(mut respond) => {
                let sent = respond.send_response(response, ended);
                let stream = sent.map_err(|error| Broken::of_h2(&error))?;
                Ok(Sink::Http2(http2::Outgoing::new(stream, ended)))
            }
        }
    }

    /// Says that the protocol is switched: 101, or 200 to an extended CONNECT.
    ///
    /// # Errors
    /// When the client has gone.
    pub(crate) fn switch(
        self,
        mut response: Response<()>,
        protocol: HeaderValue,
    ) -> Result<Sink<'a>, Broken> {
        match self {
            Self::Http1(http1) => {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(http::header::UPGRADE, protocol);
                http1.persistence.wanted.set(false);
                http1.persistence.answered.set(true);
                http1.writer.head(|buffer| head::write_response(buffer, &response));
                Ok(Sink::Http1(Outgoing::new(http1.writer, Length::UntilClose)))
            }
            Self::Http2(_) => {
                *response.status_mut() = StatusCode::OK;
                let headers = response.headers_mut();
                headers.remove(http::header::UPGRADE);
                headers.remove(http::header::SEC_WEBSOCKET_ACCEPT);
                self.start(response, false)
            }
        }
    }

    /// Sends a whole response.
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub(crate) async fn whole(self, response: Response<Bytes>, stuck: Duration) -> Result<(), Broken> {
        let (parts, body) = response.into_parts();
        let mut sink = self.start(Response::from_parts(parts, ()), body.is_empty())?;
        sink.data(body, stuck).await?;
        sink.finish(None, stuck).await
    }
}

impl Http1<'_> {
    /// Says whether the connection is used again, where the version does not (RFC 9112, 9.3).
    fn say_persistence(&self, response: &mut Response<()>) {
        self.persistence.answered.set(true);
        match (self.persistence.wanted.get(), self.version) {
            (false, _) => response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close")),
            (true, Version::HTTP_10) => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"))
            }
            (true, _) => None,
        };
    }
}
