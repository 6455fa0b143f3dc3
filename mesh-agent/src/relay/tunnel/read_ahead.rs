//! Reads a tunnel's socket in large pieces, for TLS to take small ones from.
//!
//! rustls reads 4 KiB at a time, so a record of 16 KiB is five system calls. Here it is one for four
//! records. The buffer is there only while something waits in it: an idle tunnel has none.
//!
//! Who sends as fast as it is read would never let the worker turn to another tunnel: after a
//! [`TURN`] of it the reader is told to wait, and is woken behind those that wait already. A turn
//! is bounded in octets, for the smallest frames of HTTP/2 are what costs most.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What is read at once.
const AHEAD: usize = 64 << 10;
/// What is given out before others have their turn.
const TURN: usize = 128 << 10;

/// A stream that is read ahead of its reader.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    stream: S,
    waiting: BytesMut,
    /// Given out in this turn.
    turn: usize,
}

impl<S> ReadAhead<S> {
    /// Reads `stream` ahead.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, waiting: BytesMut::new(), turn: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, waiting, turn } = &mut *self;
        if *turn >= TURN {
            *turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if waiting.is_empty() {
            waiting.reserve(AHEAD);
            let read = pin!(stream.read_buf(waiting)).poll(context);
            if waiting.is_empty() {
                // Nothing yet, or nothing ever.
                *waiting = BytesMut::new();
                *turn = 0;
            }
            ready!(read)?;
        }
        let taken = waiting.len().min(buffer.remaining());
        buffer.put_slice(&waiting[..taken]);
        *turn += taken;
        if taken == waiting.len() {
            // The allocation is used again by the next read.
            waiting.clear();
        } else {
            waiting.advance(taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD, ReadAhead, TURN};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn who_sends_without_end_is_read_in_turns() {
        let (mut near, far) = tokio::io::duplex(4 * TURN);
        near.write_all(&vec![7; 4 * TURN]).await.unwrap();
        let mut ahead = ReadAhead::new(far);
        let mut turns = Vec::new();
        let mut piece = [0; 4096];
        while turns.len() < 3 {
            let mut read = 0;
            while let std::task::Poll::Ready(got) = futures::poll!(std::pin::pin!(ahead.read(&mut piece))) {
                read += got.unwrap();
            }
            turns.push(read);
        }
        assert_eq!(turns, [TURN; 3]);
    }

    #[tokio::test]
    async fn every_byte_comes_in_order_and_nothing_is_kept() {
        let (mut near, far) = tokio::io::duplex(3 * AHEAD);
        let sent: Vec<u8> = (0..2 * AHEAD + 17).map(|at| (at / 7) as u8).collect();
        near.write_all(&sent).await.unwrap();
        let mut ahead = ReadAhead::new(far);
        let mut received = vec![0; sent.len()];
        for piece in received.chunks_mut(4096) {
            ahead.read_exact(piece).await.unwrap();
        }
        assert_eq!(received, sent);
        let mut byte = [0];
        let read = futures::poll!(std::pin::pin!(ahead.read(&mut byte)));
        assert!(read.is_pending());
        assert_eq!(ahead.waiting.capacity(), 0);
        drop(near);
        assert_eq!(ahead.read(&mut byte).await.unwrap(), 0);
    }
}
