//! One connection of HTTP/1: what is read from it and what is written to it.
//!
//! A connection is two halves of one stream, so that a request's body is read while its response is
//! written. What is read and not used yet waits in one bounded buffer, which is only there while
//! something is in it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::head::{self, BadHead, Kind, Search};
use crate::relay::engine::Io;
use crate::relay::engine::frame::Broken;

/// What is read at once.
pub(super) const AHEAD: usize = 64 << 10;
/// Pieces smaller than this are copied: they would keep the whole buffer for as long as they wait.
const WORTH_TAKING: usize = 8 << 10;

thread_local! {
    /// What reads of this worker go into before it is known how much came: a connection that waits has
    /// no buffer, and none is made for a read that finds nothing.
    static SCRATCH: Cell<BytesMut> = Cell::default();
}

/// Takes octets from the front of a buffer.
pub(crate) fn take(buffer: &mut BytesMut, octets: usize) -> Bytes {
    if octets >= WORTH_TAKING {
        return buffer.split_to(octets).freeze();
    }
    let copy = Bytes::copy_from_slice(&buffer[..octets]);
    buffer.advance(octets);
    copy
}

/// One of the two who hold a stream.
struct Half(Rc<RefCell<Io>>);

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_shutdown(context)
    }
}

/// Makes two halves of a stream; `first` was read from it already.
pub(crate) fn split(stream: Io, first: Bytes) -> (Reader, Writer) {
    let shared = Rc::new(RefCell::new(stream));
    let reader = Reader { stream: Half(Rc::clone(&shared)), buffer: BytesMut::from(&first[..]) };
    (reader, Writer { stream: Half(shared), buffer: BytesMut::new(), aborted: false })
}

/// What is read.
pub(crate) struct Reader {
    stream: Half,
    /// What was read and not used yet.
    pub(super) buffer: BytesMut,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("waiting", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads more; 0 at the end.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = SCRATCH.take();
        // Takes the old allocation again once what was read into it is gone.
        scratch.reserve(AHEAD);
        let read = pin!(self.stream.read_buf(&mut (&mut scratch).limit(AHEAD))).poll(context);
        if self.buffer.is_empty() && scratch.len() >= WORTH_TAKING {
            self.buffer = scratch.split();
        } else if !scratch.is_empty() {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            self.buffer.extend_from_slice(&scratch);
            scratch.clear();
        }
        SCRATCH.set(scratch);
        read
    }

    /// Reads more; 0 at the end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    /// Whether nothing that was read waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Drops what was read.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// Drops empty lines that wait in front of a request.
    pub(crate) fn skip_empty_lines(&mut self) {
        head::skip_empty_lines(&mut self.buffer);
    }

    /// Reads to the end of a head; `None` when the stream ends before it begins.
    ///
    /// # Errors
    /// When the stream fails or ends within it, or it cannot be a head.
    pub(crate) async fn head(&mut self, kind: Kind, most: usize) -> Result<Option<Bytes>, HeadError> {
        let mut search = Search::default();
        loop {
            if let Some(length) = search.end(&self.buffer, kind, most)? {
                // Its fields outlive the buffer, which is much larger.
                let head = Bytes::copy_from_slice(&self.buffer[..length]);
                self.buffer.advance(length);
                return Ok(Some(head));
            }
            if self.fill().await.map_err(|error| HeadError::Broken(Broken::of_io(&error)))? == 0 {
                let within = "it ended within the head of a message";
                return if self.is_empty() {
                    Ok(None)
                } else {
                    Err(HeadError::Broken(Broken::Lost(within.to_owned())))
                };
            }
        }
    }
}

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    /// The stream failed.
    #[error("{0}")]
    Broken(Broken),
    /// What came is none.
    #[error(transparent)]
    Bad(#[from] BadHead),
}

/// What is written.
pub(crate) struct Writer {
    stream: Half,
    /// Heads, and sizes of chunks, on their way out.
    pub(super) buffer: BytesMut,
    /// A message was left unfinished.
    pub(super) aborted: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").field("aborted", &self.aborted).finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes a head by `write`; it goes out with what comes next, or by [`Writer::flush`].
    pub(crate) fn head(&mut self, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.buffer);
    }

    /// Writes an interim response.
    ///
    /// # Errors
    /// When the peer has gone or takes nothing.
    pub(crate) async fn interim(&mut self, response: &Response<()>, stuck: Duration) -> Result<(), Broken> {
        head::write_response(&mut self.buffer, response);
        self.flush(stuck).await
    }

    /// Sends everything that was written.
    ///
    /// # Errors
    /// When the peer has gone or takes nothing.
    pub(crate) async fn flush(&mut self, stuck: Duration) -> Result<(), Broken> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.send(Bytes::new(), &[], stuck).await
    }

    /// Sends what waits, then `data` and `after`.
    pub(super) async fn send(
        &mut self,
        data: Bytes,
        after: &'static [u8],
        stuck: Duration,
    ) -> Result<(), Broken> {
        let Self { stream, buffer, .. } = self;
        let mut all = buffer.chain(data).chain(after);
        while all.has_remaining() {
            match timeout(stuck, stream.write_buf(&mut all)).await {
                Ok(Ok(0)) => return Err(Broken::Lost("nothing more can be written".to_owned())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Broken::of_io(&error)),
                Err(_) => return Err(Broken::Stuck(stuck)),
            }
        }
        match timeout(stuck, stream.flush()).await {
            Ok(flushed) => flushed.map_err(|error| Broken::of_io(&error))?,
            Err(_) => return Err(Broken::Stuck(stuck)),
        }
        if self.buffer.capacity() > AHEAD / 4 {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Ends this direction in order.
    pub(crate) async fn shutdown(&mut self) {
        // A peer that has gone does not hear it.
        let _ = self.stream.shutdown().await;
    }

    /// Ends this direction in order, as far as that goes without waiting.
    pub(crate) fn shutdown_now(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        // What does not end at once ends with the stream, not in order.
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut context);
    }

    /// Leaves the stream as it is: its end is not to be taken for an orderly one.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
    }

    /// Whether a message was left unfinished.
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted
    }
}
