//! Bodies on their way: where they come from, where they go, whatever version of HTTP is on either
//! side.
//!
//! A [`Source`] is asked for the next [`Frame`] only when the [`Sink`] has taken the one before, so
//! that nothing waits in the engine but what the kernel or HTTP/2's windows hold: a slow reader stops
//! its own writer and nobody else.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::frame::{Broken, Frame};
use super::{http1, http2};

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// Nowhere: there is none.
    Empty,
    /// A connection of HTTP/1.
    Http1(http1::Body<'a>),
    /// A stream of HTTP/2.
    Http2(http2::Body),
    /// Another request, whose copy this is. It ends without an end when that request does.
    Copy(mpsc::Receiver<Option<Frame>>),
}

impl Source<'_> {
    /// The next frame; `None` at the end.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(context),
            Self::Http2(body) => body.poll_frame(context),
            Self::Copy(frames) => match std::task::ready!(frames.poll_recv(context)) {
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(None) => {
                    *self = Self::Empty;
                    Poll::Ready(None)
                }
                None => Poll::Ready(Some(Err(Broken::Lost("the copied request ended".to_owned())))),
            },
        }
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<Result<Frame, Broken>> {
        poll_fn(|context| self.poll_frame(context)).await
    }

    /// Says that octets were taken on the other side, so that the peer may send as many.
    pub(crate) fn taken(&mut self, octets: usize) {
        if let Self::Http2(body) = self {
            body.taken(octets);
        }
    }

    /// Whether all of it has been read; one of unknown length may have an end that was not.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_ended(),
            Self::Http2(body) => body.is_ended(),
            Self::Copy(_) => false,
        }
    }

    /// Whether it has a length that its sender has named: what pauses long there is no stream.
    pub(crate) fn is_measured(&self) -> bool {
        matches!(self, Self::Http1(body) if body.is_measured())
    }

    /// Waits until the peer has gone, once all of the body was read.
    pub(crate) async fn gone(&mut self) -> Broken {
        match self {
            Self::Http1(body) => body.gone().await,
            // A reset is heard where the response goes.
            Self::Empty | Self::Http2(_) | Self::Copy(_) => std::future::pending().await,
        }
    }
}

/// Where a body goes.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    /// A connection of HTTP/1.
    Http1(http1::Outgoing<'a>),
    /// A stream of HTTP/2.
    Http2(http2::Outgoing),
}

impl Sink<'_> {
    /// Sends octets; back when they are on their way.
    ///
    /// # Errors
    /// When the peer has gone, or takes nothing for `stuck`.
    pub(crate) async fn data(&mut self, data: Bytes, stuck: Duration) -> Result<(), Broken> {
        match self {
            Self::Http1(sink) => sink.data(data, stuck).await,
            Self::Http2(sink) => sink.data(data, stuck).await,
        }
    }

    /// Sends what was written and waits for company.
    ///
    /// # Errors
    /// When the peer has gone, or takes nothing for `stuck`.
    pub(crate) async fn flush(&mut self, stuck: Duration) -> Result<(), Broken> {
        match self {
            Self::Http1(sink) => sink.flush(stuck).await,
            Self::Http2(_) => Ok(()),
        }
    }

    /// Ends the message, with trailers where its form has room for them.
    ///
    /// # Errors
    /// When the peer has gone, or the message is shorter than it said.
    pub(crate) async fn finish(
        &mut self,
        trailers: Option<HeaderMap>,
        stuck: Duration,
    ) -> Result<(), Broken> {
        match self {
            Self::Http1(sink) => sink.finish(trailers, stuck).await,
            Self::Http2(sink) => sink.finish(trailers),
        }
    }

    /// Ends it so that nobody takes it for whole.
    pub(crate) fn abort(&mut self, code: h2::Reason) {
        match self {
            Self::Http1(sink) => sink.abort(),
            Self::Http2(sink) => sink.reset(code),
        }
    }

    /// Waits until the peer wants no more of it.
    pub(crate) async fn refused(&mut self) -> Broken {
        match self {
            // Its other half hears that.
            Self::Http1(_) => std::future::pending().await,
            Self::Http2(sink) => sink.refused().await,
        }
    }
}

/// What gives frames.
pub(crate) trait Frames {
    /// The next frame; `None` at the end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>>;
    /// See [`Source::taken`].
    fn taken(&mut self, octets: usize);
    /// Whether who sends it has no reason to pause for long.
    fn is_owed(&self) -> bool {
        false
    }
}

impl Frames for Source<'_> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        self.poll_frame(context)
    }

    fn taken(&mut self, octets: usize) {
        Source::taken(self, octets);
    }
}

/// Which side of a [`pump`] failed.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// Where frames come from.
    Source(Broken),
    /// Where they go to.
    Sink(Broken),
}

/// Carries a body to its end, counting its octets; gives back its trailers.
///
/// # Errors
/// When either side fails.
pub(crate) async fn pump(
    source: &mut impl Frames,
    sink: &mut Sink<'_>,
    stuck: Duration,
    mut count: impl FnMut(usize),
) -> Result<Option<HeaderMap>, PumpError> {
    loop {
        let ready = poll_fn(|context| Poll::Ready(source.poll_next(context))).await;
        let frame = match ready {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let source_is_owed = source.is_owed();
                // What waits for company has waited long enough.
                sink.flush(stuck).await.map_err(PumpError::Sink)?;
                tokio::select! {
                    biased;
                    frame = poll_fn(|context| source.poll_next(context)) => frame,
                    broken = sink.refused() => return Err(PumpError::Sink(broken)),
                    () = sleep(stuck), if source_is_owed => return Err(PumpError::Source(Broken::Stuck(stuck))),
                }
            }
        };
        match frame {
            Some(Ok(Frame::Data(data))) => {
                let octets = data.len();
                sink.data(data, stuck).await.map_err(PumpError::Sink)?;
                source.taken(octets);
                count(octets);
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                sink.finish(Some(trailers.clone()), stuck).await.map_err(PumpError::Sink)?;
                return Ok(Some(trailers));
            }
            None => {
                sink.finish(None, stuck).await.map_err(PumpError::Sink)?;
                return Ok(None);
            }
            Some(Err(broken)) => return Err(PumpError::Source(broken)),
        }
    }
}
