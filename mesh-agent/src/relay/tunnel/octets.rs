//! A stream of the tunnel as a stream of octets, for the engine, which reads what it carries.
//!
//! The window is opened again for octets that were read, and nothing is taken from the caller that
//! the other end has no room for: backpressure goes through. Shutting down is END_STREAM; dropping
//! without that is a reset (RFC 9113, 8.5), so that what was given up never looks finished.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::copy::CHUNK;
use super::pool::Lease;
use super::request::Opened;

/// A stream of the tunnel.
pub(crate) struct Octets {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What came and was not read yet.
    waiting: Bytes,
    finished: bool,
    /// Keeps the place in a tunnel that this node made.
    _lease: Option<Lease>,
}

impl Octets {
    /// A stream of a tunnel that came in.
    pub(crate) fn accepted(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, waiting: Bytes::new(), finished: false, _lease: None }
    }
}

impl From<Opened> for Octets {
    fn from(Opened { lease, send, receive }: Opened) -> Self {
        Self { send, receive, waiting: Bytes::new(), finished: false, _lease: Some(lease) }
    }
}

impl Drop for Octets {
    fn drop(&mut self) {
        if !self.finished || !self.receive.is_end_stream() {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

impl AsyncRead for Octets {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting.is_empty() {
            match ready!(self.receive.poll_data(context)) {
                Some(Ok(data)) => self.waiting = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.waiting.len().min(into.remaining());
        into.put_slice(&self.waiting[..length]);
        self.waiting.advance(length);
        // Fails only where the stream has ended, and then nobody waits for the window.
        let _ = self.receive.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Octets {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(octets.len().min(CHUNK));
        loop {
            match ready!(self.send.poll_capacity(context)) {
                // Told anew whenever it changes; none is no news.
                Some(Ok(0)) => {}
                Some(Ok(room)) => {
                    let length = room.min(octets.len()).min(CHUNK);
                    let data = Bytes::copy_from_slice(&octets[..length]);
                    self.send.send_data(data, false).map_err(broken)?;
                    return Poll::Ready(Ok(length));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // h2 sends what it has been given by itself.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            self.send.reserve_capacity(0);
            self.send.send_data(Bytes::new(), true).map_err(broken)?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_reset() {
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    } else {
        io::Error::other(error)
    }
}
