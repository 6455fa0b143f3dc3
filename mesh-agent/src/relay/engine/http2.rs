//! HTTP/2, by `h2`: bodies of streams.
//!
//! `h2` keeps the rules of RFC 9113 (malformed messages, window and frame sizes, floods of
//! CONTINUATION, of resets before they were accepted, of empty DATA); what is left to its user is
//! bounded in `server::http2`.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::time::timeout;

use super::frame::{Broken, Frame};

/// Bytes that one side may send before the other took some.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// On a stream.
    pub stream: u32,
    /// On all streams of a connection. A stream that nobody takes from holds at most its own window
    /// of it, so as many may be stuck as fit before the others wait for them.
    pub connection: u32,
}

/// Of a client's connection: it is hurt by its own streams only.
pub(crate) const OF_CLIENTS: Windows = Windows { stream: 128 << 10, connection: 4 << 20 };
/// Of a connection to an endpoint, which clients of one pod share, and which may lead far.
pub(crate) const OF_ENDPOINTS: Windows = Windows { stream: 256 << 10, connection: 16 << 20 };
/// Bytes that wait to be sent on a stream.
pub(crate) const SEND_BUFFER: usize = 64 << 10;
/// The longest frame taken.
pub(crate) const FRAME: u32 = 32 << 10;

/// A body that is received.
#[derive(Debug)]
pub(crate) struct Body {
    stream: RecvStream,
    /// Only trailers may come.
    content_ended: bool,
    ended: bool,
}

impl Body {
    /// Of a stream.
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, content_ended: false, ended: false }
    }

    /// The next frame; `None` at the end.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        while !self.content_ended {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(Broken::of_h2(&error)))),
                None => self.content_ended = true,
            }
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        self.ended = true;
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::Trailers(trailers))),
            Err(error) => Some(Err(Broken::of_h2(&error))),
        })
    }

    /// Opens the window for what was taken.
    pub(crate) fn taken(&mut self, octets: usize) {
        // Only more than was received is an error, or a stream that is over.
        let _ = self.stream.flow_control().release_capacity(octets);
    }

    /// Whether all of it was read.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended || self.stream.is_end_stream()
    }
}

/// A body that is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream<Bytes>,
    ended: bool,
}

impl Outgoing {
    /// On a stream; `ended` where the head said that nothing follows.
    pub(crate) fn new(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self { stream, ended }
    }

    /// Sends octets, no more than the peer has room for.
    ///
    /// # Errors
    /// When the peer has given the stream up or takes nothing.
    pub(crate) async fn data(&mut self, mut data: Bytes, stuck: Duration) -> Result<(), Broken> {
        if self.ended {
            return Ok(());
        }
        while !data.is_empty() {
            // Capacity is the neighbours', too: asked for what is there, taken at once.
            self.stream.reserve_capacity(data.len());
            let capacity = match timeout(stuck, capacity(&mut self.stream)).await {
                Ok(capacity) => capacity?,
                Err(_) => return Err(Broken::Stuck(stuck)),
            };
            let piece = data.split_to(capacity.min(data.len()));
            self.stream.send_data(piece, false).map_err(|error| Broken::of_h2(&error))?;
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// When the peer has given it up.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let sent = match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|error| Broken::of_h2(&error))
    }

    /// Gives the stream up.
    pub(crate) fn reset(&mut self, code: h2::Reason) {
        self.ended = true;
        self.stream.send_reset(code);
    }

    /// Waits until the peer gives the stream up.
    pub(crate) async fn refused(&mut self) -> Broken {
        if self.ended {
            return std::future::pending().await;
        }
        match poll_fn(|context| self.stream.poll_reset(context)).await {
            Ok(reason) => Broken::Reset(reason),
            Err(error) => Broken::of_h2(&error),
        }
    }
}

/// Waits until the stream may send something; says how much.
async fn capacity(stream: &mut SendStream<Bytes>) -> Result<usize, Broken> {
    poll_fn(|context| {
        loop {
            let capacity = stream.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity));
            }
            match ready!(stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(Broken::of_h2(&error))),
                // Closed: by a reset, since this side has not finished it.
                None => {
                    return Poll::Ready(Err(match ready!(stream.poll_reset(context)) {
                        Ok(reason) => Broken::Reset(reason),
                        Err(error) => Broken::of_h2(&error),
                    }));
                }
            }
        }
    })
    .await
}
