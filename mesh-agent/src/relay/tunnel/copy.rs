//! Bytes between an application's socket and a stream of the tunnel, both ways at once.
//!
//! Nothing is read that the other side has no room for, so what waits here is bounded by the
//! stream's send buffer on one side and by its window on the other:
//!
//! - **out of the pod**: wait until the socket is readable, ask the stream for capacity, read no
//!   more than it gives, give back what was not used. Capacity is never held while there is
//!   nothing to send: it is taken from the connection's window, which the neighbours share.
//! - **into the pod**: the peer's window is opened again only for bytes that the application's
//!   socket took (RFC 9113, 5.2), so a slow reader stops its own stream and no other. What came
//!   and has no room waits in a [`Backlog`].
//!
//! Either side may finish first (half-close: FIN is END_STREAM). A reset on one side is a reset on
//! the other (RFC 9113, 8.5). Sockets are set to answer their end with RST until both directions
//! have finished ([`abort_on_close`]), so that a task that dies, or a killed relay, never looks to
//! an application like an orderly end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use super::backlog::Backlog;
use super::report::Connection;

/// Bytes of a frame's header (RFC 9113, 4.1).
const FRAME_HEADER: usize = 9;
/// The most that is read at once: with its header exactly four records of TLS.
pub(crate) const CHUNK: usize = (64 << 10) - FRAME_HEADER;
/// Reads smaller than this are copied out of the scratch buffer; others take it along.
const WORTH_TAKING: usize = 16 << 10;

/// How carrying ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both sides finished.
    Finished,
    /// The application's socket was reset or failed.
    Local(io::Error),
    /// The peer reset the stream.
    Reset(h2::Reason),
    /// The tunnel failed under it.
    Lost(h2::Error),
}

impl End {
    fn of(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Lost(error),
        }
    }
}

/// What reads go into before they are cut off as chunks; one a worker.
#[derive(Debug, Default)]
pub(crate) struct Scratch(RefCell<BytesMut>);

impl Scratch {
    /// Reads at most `limit` bytes; none at the end of what comes.
    fn poll_read(
        &self,
        context: &mut Context<'_>,
        socket: &mut ReadHalf<'_>,
        limit: usize,
    ) -> Poll<io::Result<Bytes>> {
        let mut scratch = self.0.borrow_mut();
        // Takes the old allocation again once its chunks are gone.
        scratch.reserve(CHUNK);
        let mut room = (&mut *scratch).limit(limit);
        // Unlike a read without a waker this notes when the socket has been emptied, which saves
        // the read that would say so.
        let read = ready!(pin!(socket.read_buf(&mut room)).poll(context))?;
        if read >= WORTH_TAKING {
            return Poll::Ready(Ok(scratch.split().freeze()));
        }
        // A small chunk of a large buffer would keep all of it for as long as it is queued.
        let chunk = Bytes::copy_from_slice(&scratch);
        scratch.clear();
        Poll::Ready(Ok(chunk))
    }
}

/// From now on closing the socket is a RST: what ends it unfinished must not look finished.
///
/// # Errors
/// When the socket has no such option.
pub(crate) fn abort_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Carries until both sides have finished or one has failed.
pub(crate) async fn carry(
    socket: &mut TcpStream,
    send: &mut SendStream<Bytes>,
    receive: &mut RecvStream,
    scratch: &Scratch,
    connection: &Connection,
) -> End {
    let (read, write) = socket.split();
    let socket: &TcpStream = write.as_ref();
    let both = async {
        tokio::try_join!(out_of_pod(read, send, scratch, connection), into_pod(socket, receive, connection))
    };
    // A reset is to be heard even while nothing is read or written for want of room.
    let mut broken = pin!(socket.ready(Interest::ERROR));
    let mut both = pin!(both);
    let end = poll_fn(|context| {
        if let Poll::Ready(done) = both.as_mut().poll(context) {
            return Poll::Ready(done.map_or_else(|end| end, |((), ())| End::Finished));
        }
        ready!(broken.as_mut().poll(context)).ok();
        Poll::Ready(End::Local(match socket.take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        }))
    })
    .await;
    if matches!(end, End::Finished) {
        // It keeps RST on close where this fails: noisy, never wrong.
        let _ = SockRef::from(socket).set_linger(None);
    }
    end
}

async fn out_of_pod(
    mut socket: ReadHalf<'_>,
    send: &mut SendStream<Bytes>,
    scratch: &Scratch,
    connection: &Connection,
) -> Result<(), End> {
    loop {
        readable(socket.as_ref(), send).await?;
        send.reserve_capacity(CHUNK);
        let capacity = capacity(send).await?.min(CHUNK);
        let read = poll_fn(|context| Poll::Ready(scratch.poll_read(context, &mut socket, capacity))).await;
        match read {
            Poll::Ready(Ok(chunk)) if chunk.is_empty() => {
                return send.send_data(Bytes::new(), true).map_err(End::of);
            }
            Poll::Ready(Ok(chunk)) => {
                connection.carried(true, chunk.len());
                send.send_data(chunk, false).map_err(End::of)?;
            }
            Poll::Ready(Err(error)) => return Err(End::Local(error)),
            Poll::Pending => {}
        }
        send.reserve_capacity(0);
    }
}

/// Waits for the socket, or for the peer to reset the stream meanwhile.
async fn readable(socket: &TcpStream, send: &mut SendStream<Bytes>) -> Result<(), End> {
    poll_fn(|context| {
        if let Poll::Ready(ready) = socket.poll_read_ready(context) {
            return Poll::Ready(ready.map_err(End::Local));
        }
        Poll::Ready(Err(match ready!(send.poll_reset(context)) {
            Ok(reason) => End::Reset(reason),
            Err(error) => End::of(error),
        }))
    })
    .await
}

/// Waits until the stream may send something; says how much.
async fn capacity(send: &mut SendStream<Bytes>) -> Result<usize, End> {
    poll_fn(|context| {
        loop {
            let capacity = send.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity));
            }
            match ready!(send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(End::of(error))),
                // Closed: by a reset, since this side has not finished it.
                None => {
                    return Poll::Ready(Err(match ready!(send.poll_reset(context)) {
                        Ok(reason) => End::Reset(reason),
                        Err(error) => End::of(error),
                    }));
                }
            }
        }
    })
    .await
}

async fn into_pod(socket: &TcpStream, receive: &mut RecvStream, connection: &Connection) -> Result<(), End> {
    let mut backlog = Backlog::default();
    let mut finished = false;
    while !(finished && backlog.is_empty()) {
        if backlog.is_empty() {
            match poll_fn(|context| receive.poll_data(context)).await {
                Some(data) => backlog.push(data.map_err(End::of)?),
                None => finished = true,
            }
        }
        while !backlog.is_empty() {
            match socket.try_write(backlog.front()) {
                Ok(written) => {
                    connection.carried(false, written);
                    receive.flow_control().release_capacity(written).map_err(End::of)?;
                    backlog.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    gather(socket, receive, &mut backlog, &mut finished).await?;
                }
                Err(error) => return Err(End::Local(error)),
            }
        }
    }
    match SockRef::from(socket).shutdown(Shutdown::Write) {
        // It was reset meanwhile, which the other half hears.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        done => done.map_err(End::Local),
    }
}

/// Waits for room in the socket, and takes what comes meanwhile.
async fn gather(
    socket: &TcpStream,
    receive: &mut RecvStream,
    backlog: &mut Backlog,
    finished: &mut bool,
) -> Result<(), End> {
    poll_fn(|context| {
        while !*finished {
            match receive.poll_data(context) {
                Poll::Ready(Some(data)) => backlog.push(data.map_err(End::of)?),
                Poll::Ready(None) => *finished = true,
                Poll::Pending => break,
            }
        }
        socket.poll_write_ready(context).map_err(End::Local)
    })
    .await
}
