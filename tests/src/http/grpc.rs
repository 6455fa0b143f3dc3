//! The messages of gRPC on the wire: a flag, a length and so many octets ("Length-Prefixed-Message" of gRPC over HTTP/2);
//! what the octets are, is between client and server, here text.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Length of what precedes a message.
const PREFIX: usize = 5;

/// Takes messages from pieces of a body.
#[derive(Debug, Default)]
pub(super) struct Messages(BytesMut);

impl Messages {
    /// A message as it goes on the wire.
    pub(super) fn framed(text: &str) -> Bytes {
        let mut framed = BytesMut::with_capacity(PREFIX + text.len());
        framed.put_u8(0);
        framed.put_u32(text.len() as u32);
        framed.put_slice(text.as_bytes());
        framed.freeze()
    }

    /// The messages that are whole with this piece.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(piece);
        let mut whole = Vec::new();
        while let Some(prefix) = self.0.get(1..PREFIX) {
            let length = prefix.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
            if self.0.len() < PREFIX + length {
                break;
            }
            self.0.advance(PREFIX);
            whole.push(String::from_utf8_lossy(&self.0.split_to(length)).into_owned());
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let wire = [Messages::framed("one"), Messages::framed(""), Messages::framed("three")].concat();
        for size in 1..wire.len() {
            let mut messages = Messages::default();
            let found: Vec<String> = wire.chunks(size).flat_map(|piece| messages.take(piece)).collect();
            assert_eq!(found, ["one", "", "three"]);
        }
    }
}
