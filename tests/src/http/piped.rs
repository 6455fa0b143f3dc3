//! A body whose pieces come from elsewhere, as fast as they are taken.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that are made but not taken yet.
const AHEAD: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Piped {
    frames: mpsc::Receiver<Frame<Bytes>>,
    length: Option<u64>,
}

/// Where the pieces go in; dropped, the body ends.
pub(super) type Pipe = mpsc::Sender<Frame<Bytes>>;

/// A body, of this length if it is known.
pub(super) fn piped(length: Option<u64>) -> (Pipe, Piped) {
    let (pipe, frames) = mpsc::channel(AHEAD);
    (pipe, Piped { frames, length })
}

impl Body for Piped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.poll_recv(context);
        if let (Poll::Ready(Some(frame)), Some(length)) = (&frame, self.length) {
            let octets = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.length = Some(length.saturating_sub(octets));
        }
        frame.map(|frame| frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
