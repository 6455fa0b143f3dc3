//! What a client's connection speaks.
//!
//! Where the port says HTTP, only the version is to be found out, and there is no hurry. Where nothing
//! says anything, the client has [`Limits::detect_within`] to say something that is HTTP; a server
//! that speaks first is not kept waiting longer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use mesh_l7::detect::{Detected, detect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::Io;
use super::limits::Limits;

/// What is said of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP, in one version or the other.
    Http,
    /// Nothing.
    Unknown,
    /// Nothing, and what is not HTTP may not pass: silence is waited out, other octets are not answered.
    HttpOrNothing,
}

/// What does not speak HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opaque {
    /// TLS, whatever is inside.
    Tls,
    /// Something else.
    Other,
    /// Its client has said nothing, or not enough.
    Silent,
}

/// The first octets of a connection, and what they are.
#[derive(Debug)]
pub(super) enum First {
    Http1(Bytes),
    Http2(Bytes),
    Opaque(Bytes, Opaque),
    Gone,
}

pub(super) async fn first(stream: &mut Io, speaks: Speaks, limits: &Limits) -> First {
    let mut first = BytesMut::new();
    let start = Instant::now();
    loop {
        let until = match (speaks, first.is_empty()) {
            (Speaks::Unknown, _) => start + limits.detect_within,
            (Speaks::Http | Speaks::HttpOrNothing, true) => start + limits.idle,
            (Speaks::Http | Speaks::HttpOrNothing, false) => start + limits.idle.min(limits.head_within),
        };
        match timeout_at(until, stream.read_buf(&mut first)).await {
            Ok(Ok(1..)) => {}
            // The client has said all that it will.
            Ok(Ok(0)) if !first.is_empty() => return settled(first, Detected::NotHttp, speaks),
            Ok(_) => return First::Gone,
            Err(_) if speaks == Speaks::Unknown => return First::Opaque(first.freeze(), Opaque::Silent),
            Err(_) if first.is_empty() => return First::Gone,
            Err(_) if speaks == Speaks::HttpOrNothing => {
                return First::Opaque(first.freeze(), Opaque::Silent);
            }
            // It is the server of HTTP/1 that says 408.
            Err(_) => return First::Http1(first.freeze()),
        }
        match detect(&first) {
            Detected::NeedMore => {}
            detected => return settled(first, detected, speaks),
        }
    }
}

fn settled(first: BytesMut, detected: Detected, speaks: Speaks) -> First {
    let first = first.freeze();
    match (detected, speaks) {
        (Detected::Http1, _) => First::Http1(first),
        (Detected::Http2, _) => First::Http2(first),
        // Where HTTP was promised, it is answered 400.
        (_, Speaks::Http) => First::Http1(first),
        (Detected::Tls, _) => First::Opaque(first, Opaque::Tls),
        (Detected::NotHttp | Detected::NeedMore, _) => First::Opaque(first, Opaque::Other),
    }
}

/// A stream whose first octets were read already.
pub(crate) struct Prefixed {
    first: Bytes,
    stream: Io,
}

impl Prefixed {
    /// Gives `first` before what `stream` gives.
    pub(crate) fn new(first: Bytes, stream: Io) -> Self {
        Self { first, stream }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let taken = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..taken]);
        self.first.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
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
        buffers: &[io::IoSlice<'_>],
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
