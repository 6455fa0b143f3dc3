//! What the workers tell the control thread of requests: each once, when it is over; and what passes
//! between a client and the L7 engine, counted as it does.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use mesh_api::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{DETAIL, PeerIdentity, Reporter, Side};
use crate::relay::engine::record::{Record, Tell};
use crate::relay::tunnel::counts::{Counts, Gauge};

/// Octets of a path that is told of; the rest is cut off.
const PATH: usize = 1024;
/// Octets of a host name that is told of: as many as DNS allows, and a port.
const HOST: usize = 260;

/// What is known of a connection whose requests are told of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct About {
    /// Which side.
    pub side: Side,
    /// UID of the local pod: the source's on [`Side::Source`], else the destination's.
    pub pod: Arc<str>,
    /// Its own name.
    pub own: Option<Arc<SpiffeId>>,
    /// The application's client, its true address.
    pub source: Option<SocketAddr>,
    /// The other end's name, where it is the same for every request: of the client on
    /// [`Side::Destination`].
    pub peer: PeerIdentity,
    /// What the application dialled on [`Side::Source`], else the pod's own address and port.
    pub dialled: Option<SocketAddr>,
    /// The Service's port that was dialled, `<namespace>/<name>:<port>`, on [`Side::Source`].
    pub service: Option<Arc<str>>,
    /// The destination's port, where no address is known.
    pub destination_port: Option<u16>,
}

/// One request, as one side saw it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The connection that it came on.
    pub about: Arc<About>,
    /// What the engine tells of it.
    pub record: Record,
}

impl Reporter {
    /// Tells of the requests of one connection.
    pub(crate) fn requests(&self, about: About) -> Rc<dyn Tell> {
        Rc::new(Requests { about: Arc::new(about), reporter: self.clone() })
    }
}

struct Requests {
    about: Arc<About>,
    reporter: Reporter,
}

impl Tell for Requests {
    fn tell(&self, record: &Record) {
        let counts = &self.reporter.counts;
        counts.end_request(record.ending);
        let Ok(place) = self.reporter.requests.try_reserve() else {
            counts.requests_lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut record = record.clone();
        // The client chooses them.
        for (text, most) in
            [(&mut record.path, PATH), (&mut record.authority, HOST), (&mut record.detail, DETAIL)]
        {
            text.truncate(text.floor_char_boundary(most));
        }
        place.send(Request { about: Arc::clone(&self.about), record });
    }
}

/// A client's stream whose octets the engine reads and writes: all of them are counted.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    counts: Arc<Counts>,
    _open: Gauge,
}

impl<S> Metered<S> {
    /// Counts what passes through `stream` from now on.
    pub(crate) fn new(stream: S, counts: &Arc<Counts>) -> Self {
        let open = Gauge::hold(counts, |counts| &counts.engine_open);
        Self { stream, counts: Arc::clone(counts), _open: open }
    }

    fn wrote(&self, length: usize) -> Poll<io::Result<usize>> {
        count(&self.counts.engine_bytes_sent, length);
        Poll::Ready(Ok(length))
    }
}

fn count(counter: &AtomicU64, length: usize) {
    counter.fetch_add(length as u64, Ordering::Relaxed);
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        count(&self.counts.engine_bytes_received, buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write(context, octets))?;
        self.wrote(length)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.wrote(length)
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
mod tests;
