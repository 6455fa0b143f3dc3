//! Bodies on a connection of HTTP/1, in each of the ways that they are delimited.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::HeaderMap;

use super::chunked::{Chunked, Found, may_trail};
use super::framing::Length;
use super::head;
use super::wire::{AHEAD, Reader, Writer, take};
use crate::relay::engine::frame::{Broken, Frame};

/// A body that is read.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    reader: &'a mut Reader,
    state: State,
}

#[derive(Debug)]
enum State {
    Exact(u64),
    Chunked(Chunked),
    UntilClose,
    Ended,
}

impl<'a> Body<'a> {
    /// Of the message whose head `reader` has given.
    pub(crate) fn new(reader: &'a mut Reader, length: Length, trailer_octets: usize) -> Self {
        let state = match length {
            Length::None => State::Ended,
            Length::Exact(octets) => State::Exact(octets),
            Length::Chunked => State::Chunked(Chunked::new(trailer_octets)),
            Length::UntilClose => State::UntilClose,
        };
        Self { reader, state }
    }

    /// The next frame; `None` at the end.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        loop {
            match self.waiting() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            match ready!(self.reader.poll_fill(context)) {
                Ok(0) if matches!(self.state, State::UntilClose) => self.state = State::Ended,
                Ok(0) => {
                    let lost = Broken::Lost("it ended within a body".to_owned());
                    return Poll::Ready(Some(Err(lost)));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Broken::of_io(&error)))),
            }
        }
    }

    /// The frame that was read already.
    fn waiting(&mut self) -> Result<Option<Frame>, Broken> {
        let buffer = &mut self.reader.buffer;
        match &mut self.state {
            State::Ended => Ok(None),
            State::Chunked(chunked) => match chunked.decode(buffer)? {
                Found::NeedMore => Ok(None),
                Found::Data(data) => Ok(Some(Frame::Data(data))),
                Found::End(trailers) => {
                    self.state = State::Ended;
                    Ok(trailers.map(Frame::Trailers))
                }
            },
            _ if buffer.is_empty() => Ok(None),
            State::UntilClose => {
                let all = buffer.len();
                Ok(Some(Frame::Data(take(buffer, all))))
            }
            State::Exact(left) => {
                let octets = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= octets as u64;
                if *left == 0 {
                    self.state = State::Ended;
                }
                Ok(Some(Frame::Data(take(&mut self.reader.buffer, octets))))
            }
        }
    }

    /// Whether all of it was read.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether its length was named, and not all of it has come.
    pub(crate) fn is_measured(&self) -> bool {
        matches!(self.state, State::Exact(_))
    }

    /// Waits until the peer closes; what it sends meanwhile waits for its turn.
    pub(crate) async fn gone(&mut self) -> Broken {
        loop {
            if self.reader.buffer.len() >= AHEAD {
                return std::future::pending().await;
            }
            match self.reader.fill().await {
                Ok(0) => return Broken::Lost("the peer closed it".to_owned()),
                Ok(_) => {}
                Err(error) => return Broken::of_io(&error),
            }
        }
    }

    /// From here on every octet is content, up to the end of the stream.
    pub(crate) fn switch(&mut self) {
        self.state = State::UntilClose;
    }
}

/// A body that is written.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    writer: &'a mut Writer,
    /// With what is left of an exact one.
    length: Length,
    ended: bool,
}

impl<'a> Outgoing<'a> {
    /// Of the message whose head `writer` was given.
    pub(crate) fn new(writer: &'a mut Writer, length: Length) -> Self {
        Self { writer, length, ended: false }
    }

    /// Sends octets.
    ///
    /// # Errors
    /// When the peer has gone or takes nothing, or the message is longer than it said.
    pub(crate) async fn data(&mut self, data: Bytes, stuck: Duration) -> Result<(), Broken> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.length {
            // Of a response to HEAD: what should not have come.
            Length::None => Ok(()),
            Length::UntilClose => self.writer.send(data, &[], stuck).await,
            Length::Exact(left) => {
                let longer = Broken::Malformed("a body longer than its Content-Length");
                *left = left.checked_sub(data.len() as u64).ok_or(longer)?;
                self.writer.send(data, &[], stuck).await
            }
            Length::Chunked => {
                let size = format!("{:x}\r\n", data.len());
                self.writer.buffer.put_slice(size.as_bytes());
                self.writer.send(data, b"\r\n", stuck).await
            }
        }
    }

    /// Sends the head, if it waits for the body.
    ///
    /// # Errors
    /// When the peer has gone or takes nothing.
    pub(crate) async fn flush(&mut self, stuck: Duration) -> Result<(), Broken> {
        self.writer.flush(stuck).await
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the peer has gone or takes nothing, or the message is shorter than it said.
    pub(crate) async fn finish(
        &mut self,
        trailers: Option<HeaderMap>,
        stuck: Duration,
    ) -> Result<(), Broken> {
        match self.length {
            Length::Exact(1..) => return Err(Broken::Malformed("a body shorter than its Content-Length")),
            Length::None | Length::Exact(0) => {}
            Length::Chunked => {
                self.writer.buffer.put_slice(b"0\r\n");
                let mut trailers = trailers.unwrap_or_default();
                let forbidden: Vec<_> = trailers.keys().filter(|name| !may_trail(name)).cloned().collect();
                forbidden.iter().for_each(|name| drop(trailers.remove(name)));
                head::write_fields(&mut self.writer.buffer, &trailers, None);
            }
            Length::UntilClose => {
                self.writer.flush(stuck).await?;
                self.writer.shutdown().await;
            }
        }
        self.ended = true;
        self.writer.flush(stuck).await
    }

    /// Leaves the body unfinished.
    pub(crate) fn abort(&mut self) {
        self.writer.aborted = true;
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        // However it is left: the next message must not begin within this one.
        self.writer.aborted |= !self.ended;
    }
}
