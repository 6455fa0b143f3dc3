//! The one gRPC method that the suite calls, `proto.EchoTestService/Echo`: text in, text out; and gRPC's framing of one
//! message (gRPC over HTTP/2, "Length-Prefixed-Message").

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use prost::Message as _;

/// The method's path.
pub(super) const PATH: &str = "/proto.EchoTestService/Echo";

/// The type of request and answer.
pub(super) const CONTENT_TYPE: &str = "application/grpc";

/// The header and trailer of the outcome, and of its reason.
pub(super) const STATUS: &str = "grpc-status";
pub(super) const MESSAGE: &str = "grpc-message";

/// The codes that are used here.
pub(super) const OK: &str = "0";
pub(super) const UNIMPLEMENTED: &str = "12";
pub(super) const INTERNAL: &str = "13";

/// Length of what stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Both request and answer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Text {
    /// What is said.
    #[prost(string, tag = "1")]
    pub(super) message: String,
}

/// A body that is not one message that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the body has {0} octets where one uncompressed message was to be")]
    Framing(usize),
    #[error("the message cannot be read: {0}")]
    Message(#[from] prost::DecodeError),
}

/// The body of one message.
pub(super) fn framed(message: String) -> Bytes {
    let text = Text { message }.encode_to_vec();
    let mut body = BytesMut::with_capacity(PREFIX + text.len());
    body.put_u8(0);
    // Longer ones than this are never made here.
    body.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    body.put_slice(&text);
    body.freeze()
}

/// The text of a body with one message.
pub(super) fn unframed(body: &[u8]) -> Result<String, Unreadable> {
    let framing = || Unreadable::Framing(body.len());
    let (prefix, text) = body.split_at_checked(PREFIX).ok_or_else(framing)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || usize::try_from(length) != Ok(text.len()) {
        return Err(framing());
    }
    Ok(Text::decode(text)?.message)
}

/// How the call ended, of an answer's trailers, or of its headers where it had no message.
pub(super) fn outcome(headers: &HeaderMap) -> Option<Result<(), String>> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let status = text(STATUS)?;
    let said = || format!("gRPC status {status}: {}", text(MESSAGE).unwrap_or_default());
    Some(if status == OK { Ok(()) } else { Err(said()) })
}

#[cfg(test)]
mod tests {
    use super::{framed, unframed};

    #[test]
    fn a_message_is_read_as_it_was_written() {
        assert_eq!(framed("ab".to_owned()), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b'].as_slice());
        assert_eq!(unframed(&framed("HelloWorld".to_owned())).unwrap(), "HelloWorld");
    }

    #[test]
    fn what_is_not_one_plain_message_is_refused() {
        let mut compressed = framed("a".to_owned()).to_vec();
        compressed[0] = 1;
        let mut long = framed("a".to_owned()).to_vec();
        long.push(0);
        for body in [&b""[..], b"\0\0\0", &compressed, &long, b"\0\0\0\0\x02\x0a\x09"] {
            assert!(unframed(body).is_err(), "{body:?}");
        }
    }
}
