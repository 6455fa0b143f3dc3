//! A request's body, and the beginning of it that is kept to be sent again.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{Frames, Source};
use super::frame::{Broken, Frame};

/// Octets that all requests of a worker keep.
#[derive(Debug, Default)]
pub(crate) struct Kept(Cell<usize>);

impl Kept {
    /// How many.
    #[cfg(test)]
    pub(crate) fn octets(&self) -> usize {
        self.0.get()
    }
}

/// What is known of a request's body while it is sent.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    lost: Cell<bool>,
    settled: Cell<bool>,
    received: Cell<u64>,
}

impl Replay {
    /// Whether all of it that was read is kept.
    pub(crate) fn is_possible(&self) -> bool {
        !self.lost.get()
    }

    /// Octets that came from the client, however often they were sent on.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// There is no other attempt: nothing is kept any more.
    pub(crate) fn settle(&self) {
        self.settled.set(true);
    }
}

/// A request's body.
///
/// As long as all of it that was read is kept, it can be sent from the beginning. Past its bound, or
/// that of all requests together, nothing is kept any more, and the request has one attempt.
#[derive(Debug)]
pub(crate) struct RequestBody<'a, 'b> {
    source: &'a mut Source<'b>,
    /// What was read, while all of it is kept.
    kept: Option<Vec<Frame>>,
    kept_octets: usize,
    /// How much of that this attempt has sent.
    at: usize,
    /// The last frame given out opens the client's window when it was taken.
    fresh: bool,
    ended: bool,
    most: usize,
    all: Rc<Kept>,
    most_of_all: usize,
    copies: Vec<mpsc::Sender<Option<Frame>>>,
    replay: Rc<Replay>,
}

impl<'a, 'b> RequestBody<'a, 'b> {
    /// Keeps at most so many octets, of all requests together at most so many.
    pub(crate) fn new(source: &'a mut Source<'b>, most: usize, all: Rc<Kept>, most_of_all: usize) -> Self {
        Self {
            ended: source.is_ended(),
            source,
            kept: Some(Vec::new()),
            kept_octets: 0,
            at: 0,
            fresh: false,
            most,
            all,
            most_of_all,
            copies: Vec::new(),
            replay: Rc::default(),
        }
    }

    /// Copies all of it there, too.
    pub(crate) fn copy_to(&mut self, copy: mpsc::Sender<Option<Frame>>) {
        self.copies.push(copy);
    }

    /// Begins an attempt.
    pub(crate) fn rewind(&mut self) {
        self.at = 0;
    }

    /// Whether it can be sent again.
    pub(crate) fn replay(&self) -> &Rc<Replay> {
        &self.replay
    }

    /// Whether there is nothing, or nothing more, to send in this attempt.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended && self.kept.as_ref().is_none_or(|kept| self.at >= kept.len())
    }

    /// Keeps nothing any more.
    fn forget(&mut self) {
        self.kept = None;
        self.all.0.set(self.all.0.get() - std::mem::take(&mut self.kept_octets));
        self.replay.lost.set(true);
    }

    /// What it comes from.
    pub(crate) fn source(&mut self) -> &mut Source<'b> {
        self.source
    }

    /// Keeps a frame if there is room for it.
    fn keep(&mut self, frame: &Frame) {
        let octets = frame.octets();
        let fits = self.kept_octets + octets <= self.most && self.all.0.get() + octets <= self.most_of_all;
        match &mut self.kept {
            Some(kept) if fits && !self.replay.settled.get() => {
                // A slice would keep the whole buffer that it was read into.
                kept.push(match frame {
                    Frame::Data(data) => Frame::Data(Bytes::copy_from_slice(data)),
                    trailers @ Frame::Trailers(_) => trailers.clone(),
                });
                self.kept_octets += octets;
                self.all.0.set(self.all.0.get() + octets);
                self.at = kept.len();
                // It is the engine's now, within its bound.
                self.source.taken(octets);
                self.fresh = false;
            }
            _ => {
                self.fresh = true;
                self.forget();
            }
        }
    }

    /// A copy that does not keep up is given up, and the request goes on.
    fn copy(&mut self, frame: Option<&Frame>) {
        self.copies.retain(|copy| copy.try_send(frame.cloned()).is_ok());
    }
}

impl Frames for RequestBody<'_, '_> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        if let Some(frame) = self.kept.as_ref().and_then(|kept| kept.get(self.at)) {
            self.at += 1;
            self.fresh = false;
            return Poll::Ready(Some(Ok(frame.clone())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.source.poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let received = self.replay.received.get();
                self.replay.received.set(received + frame.octets() as u64);
                self.keep(frame);
                self.copy(Some(frame));
                if matches!(frame, Frame::Trailers(_)) {
                    self.ended = true;
                    self.copy(None);
                }
            }
            Poll::Ready(None) => {
                self.ended = true;
                self.copy(None);
            }
            Poll::Ready(Some(Err(_))) => self.copies.clear(),
            Poll::Pending => {}
        }
        polled
    }

    fn taken(&mut self, octets: usize) {
        if self.fresh {
            self.source.taken(octets);
        }
    }

    fn is_owed(&self) -> bool {
        self.source.is_measured()
    }
}

impl Drop for RequestBody<'_, '_> {
    fn drop(&mut self) {
        self.all.0.set(self.all.0.get() - self.kept_octets);
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, RequestBody};
    use crate::relay::engine::body::{Frames, Source};
    use crate::relay::engine::frame::Frame;
    use bytes::Bytes;
    use std::future::poll_fn;
    use std::rc::Rc;
    use tokio::sync::mpsc;

    async fn read(body: &mut RequestBody<'_, '_>) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|context| body.poll_next(context)).await {
            if let Frame::Data(data) = frame.unwrap() {
                all.extend_from_slice(&data);
            }
        }
        all
    }

    async fn body(pieces: &[&'static str]) -> Source<'static> {
        let (sender, receiver) = mpsc::channel(16);
        for piece in pieces {
            sender.send(Some(Frame::Data(Bytes::from_static(piece.as_bytes())))).await.unwrap();
        }
        sender.send(None).await.unwrap();
        Source::Copy(receiver)
    }

    #[tokio::test]
    async fn a_body_within_the_bound_is_sent_again() {
        let all = Rc::new(Kept::default());
        let mut source = body(&["hello ", "world"]).await;
        let mut body = RequestBody::new(&mut source, 16, Rc::clone(&all), 1024);
        let first = poll_fn(|context| body.poll_next(context)).await;
        assert!(matches!(first, Some(Ok(Frame::Data(data))) if data == "hello "));
        body.rewind();
        assert_eq!(read(&mut body).await, b"hello world");
        assert!(body.is_ended() && body.replay().is_possible());
        body.rewind();
        assert!(!body.is_ended());
        assert_eq!(read(&mut body).await, b"hello world");
        assert_eq!(all.0.get(), 11);
        drop(body);
        assert_eq!(all.0.get(), 0);
    }

    #[tokio::test]
    async fn one_past_the_bound_is_not_kept_but_goes_on() {
        let all = Rc::new(Kept::default());
        let mut source = body(&["hello ", "world", "!"]).await;
        let mut body = RequestBody::new(&mut source, 8, Rc::clone(&all), 1024);
        let (copy, mut copied) = mpsc::channel(2);
        body.copy_to(copy);
        assert_eq!(read(&mut body).await, b"hello world!");
        assert!(!body.replay().is_possible());
        assert_eq!(all.0.get(), 0);
        assert!(copied.recv().await.is_some());
        assert!(copied.recv().await.is_some());
        assert!(copied.recv().await.is_none(), "a copy that does not keep up ends without its end");
    }

    #[tokio::test]
    async fn all_requests_together_have_a_bound() {
        let all = Rc::new(Kept::default());
        let (mut one, mut other) = (body(&["hello "]).await, body(&["world"]).await);
        let mut first = RequestBody::new(&mut one, 8, Rc::clone(&all), 8);
        let mut second = RequestBody::new(&mut other, 8, Rc::clone(&all), 8);
        assert_eq!(
            (read(&mut first).await, read(&mut second).await),
            (b"hello ".to_vec(), b"world".to_vec())
        );
        assert_eq!((first.replay().is_possible(), second.replay().is_possible()), (true, false));
    }
}
