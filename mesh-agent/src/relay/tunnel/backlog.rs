//! What has come over a stream and the application's socket has no room for yet.
//!
//! Its bytes are bounded by the stream's window, which is opened only for what the socket took. How
//! many frames they come in is not: an application that writes single bytes fills a window with a
//! quarter of a million. Left with h2, each of them costs ten times its size, and past a number the
//! whole tunnel is given up, with all its streams. So they are taken out, and small ones gathered.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Frames smaller than this are gathered.
const SMALL: usize = 4 << 10;

/// Bytes that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<Piece>);

#[derive(Debug)]
enum Piece {
    /// A frame as it came.
    Frame(Bytes),
    /// Small ones, copied together.
    Gathered(BytesMut),
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a frame.
    pub(super) fn push(&mut self, frame: Bytes) {
        match self.0.back_mut() {
            _ if frame.is_empty() => {}
            Some(Piece::Gathered(gathered)) if frame.len() < SMALL => gathered.extend_from_slice(&frame),
            Some(_) if frame.len() < SMALL => self.0.push_back(Piece::Gathered(frame.as_ref().into())),
            // The only one is most often written at once.
            Some(_) | None => self.0.push_back(Piece::Frame(frame)),
        }
    }

    /// What is to be written next; nothing where nothing waits.
    pub(super) fn front(&self) -> &[u8] {
        match self.0.front() {
            Some(Piece::Frame(frame)) => frame,
            Some(Piece::Gathered(gathered)) => gathered,
            None => &[],
        }
    }

    /// So many bytes of the front were written.
    pub(super) fn advance(&mut self, written: usize) {
        let left = match self.0.front_mut() {
            Some(Piece::Frame(frame)) => {
                frame.advance(written);
                frame.len()
            }
            Some(Piece::Gathered(gathered)) => {
                gathered.advance(written);
                gathered.len()
            }
            None => return,
        };
        if left == 0 {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Backlog, SMALL};
    use bytes::Bytes;

    #[test]
    fn bytes_stay_in_order_and_small_frames_are_gathered() {
        let mut backlog = Backlog::default();
        let mut expected = Vec::new();
        for at in 0..3000_usize {
            let frame: Vec<u8> = match at % 1000 {
                7 => (0..SMALL + 9).map(|byte| (byte * 3) as u8).collect(),
                _ => vec![at as u8],
            };
            expected.extend_from_slice(&frame);
            backlog.push(Bytes::from(frame));
        }
        assert!(backlog.0.len() <= 8, "{}", backlog.0.len());
        let mut written = Vec::new();
        while !backlog.is_empty() {
            let some = backlog.front().len().min(1000);
            written.extend_from_slice(&backlog.front()[..some]);
            backlog.advance(some);
        }
        assert_eq!(written, expected);
        assert!(backlog.front().is_empty());
    }
}
