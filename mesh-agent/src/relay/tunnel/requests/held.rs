//! A stream that relay made for a pod: it is among what the pod has open, and ends when that must.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mesh_ebpf::abi::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::relay::tunnel::open::Place;

/// A stream with its place among what is open.
pub(crate) struct Held<S> {
    stream: S,
    closed: LocalBoxFuture<'static, Reason>,
    _place: Place,
}

impl<S> Held<S> {
    /// Ends with its place.
    pub(crate) fn new(stream: S, place: Place) -> Self {
        let closer = std::rc::Rc::clone(place.closer());
        Self { stream, closed: async move { closer.closed().await }.boxed_local(), _place: place }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.closed).poll(context) {
            // Polled no more: whoever gets this drops the stream.
            Poll::Ready(reason) => {
                self.closed = std::future::ready(reason).boxed_local();
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason.name()))
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
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
