//! The chunked coding, read strictly (RFC 9112, 7.1).
//!
//! A line ends in CRLF and nothing else; a size has digits, and not more than fit; extensions are
//! dropped, as 7.1.1 has it for a recipient that knows none, but they may not hold controls or be
//! without end. Trailer fields go on, but for those that would change what the message was taken
//! for (RFC 9110, 6.5.1).

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::relay::engine::frame::Broken;

/// The longest line with a size: 16 digits and extensions.
const LINE: usize = 512;
/// Fields of a trailer section.
const FIELDS: usize = 32;

/// Where in a chunked body the next octet belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// Octets of extensions and the like since the last content.
    overhead: usize,
    trailer_octets: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    /// The CRLF after a chunk.
    DataEnd,
    Trailers,
    Ended,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// More must come first.
    NeedMore,
    /// Content.
    Data(Bytes),
    /// The end, with the trailers if there are any.
    End(Option<HeaderMap>),
}

impl Chunked {
    /// A body's beginning; its trailer section may have so many octets.
    pub(crate) fn new(trailer_octets: usize) -> Self {
        Self { state: State::Size, overhead: 0, trailer_octets }
    }

    /// Takes what it can from the front of `buffer`.
    ///
    /// # Errors
    /// When the body is malformed.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Found, Broken> {
        loop {
            match self.state {
                State::Size => {
                    let Some(length) = line(buffer)? else { return Ok(Found::NeedMore) };
                    let size = size(&buffer[..length])?;
                    buffer.advance(length + 2);
                    // Chunks of one octet each with extensions of hundreds are an attack on the reader.
                    self.overhead += length;
                    if self.overhead > LINE * 16 {
                        return Err(Broken::Malformed("chunks with more extensions than content"));
                    }
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Found::NeedMore);
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    self.overhead = self.overhead.saturating_sub(take);
                    return Ok(Found::Data(super::wire::take(buffer, take)));
                }
                State::DataEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Found::NeedMore),
                    _ => return Err(Broken::Malformed("a chunk without CRLF at its end")),
                },
                State::Trailers => {
                    let found = trailers(buffer, self.trailer_octets)?;
                    if let Found::End(_) = found {
                        self.state = State::Ended;
                    }
                    return Ok(found);
                }
                State::Ended => return Ok(Found::End(None)),
            }
        }
    }
}

/// The length of the line in front, without its CRLF.
fn line(buffer: &[u8]) -> Result<Option<usize>, Broken> {
    let searched = &buffer[..buffer.len().min(LINE)];
    match searched.iter().position(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        Some(at) => match &buffer[at..] {
            [b'\r', b'\n', ..] => Ok(Some(at)),
            [b'\r'] => Ok(None),
            _ => Err(Broken::Malformed("a control character in the line of a chunk's size")),
        },
        None if searched.len() == LINE => Err(Broken::Malformed("the line of a chunk's size is too long")),
        None => Ok(None),
    }
}

/// `1*HEXDIG [ BWS ";" ... ]`.
fn size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let extensions = line[digits..].trim_ascii_start();
    if digits == 0 || digits > 15 || !matches!(extensions, [] | [b';', ..]) {
        return Err(Broken::Malformed("a chunk's size is no number"));
    }
    if extensions.is_empty() && digits != line.len() {
        return Err(Broken::Malformed("white space after a chunk's size"));
    }
    let digit = |byte: &u8| u64::from((*byte as char).to_digit(16).unwrap_or(0));
    Ok(line[..digits].iter().fold(0, |size, byte| size << 4 | digit(byte)))
}

fn trailers(buffer: &mut BytesMut, most: usize) -> Result<Found, Broken> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Found::End(None));
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let parsed = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) if length <= most => {
            Some((length, fields.iter().filter_map(trailer).collect::<HeaderMap>()))
        }
        Ok(httparse::Status::Partial) if buffer.len() < most => None,
        Ok(_) => return Err(Broken::TooLarge("a trailer section that is too large")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Broken::TooLarge("a trailer section with too many fields"));
        }
        Err(_) => return Err(Broken::Malformed("a malformed trailer section")),
    };
    let Some((length, trailers)) = parsed else { return Ok(Found::NeedMore) };
    if !super::head::lines_end_in_crlf(&buffer[..length]) {
        return Err(Broken::Malformed("a line that does not end in CRLF"));
    }
    buffer.advance(length);
    Ok(Found::End((!trailers.is_empty()).then_some(trailers)))
}

/// A trailer field, unless it says where the message ends, where it goes or who sends it.
fn trailer(field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
    may_trail(&name).then_some((name, HeaderValue::from_bytes(field.value).ok()?))
}

/// Whether a field may stand in a trailer section (RFC 9110, 6.5.1).
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    !matches!(
        *name,
        header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::TRAILER
            | header::TE
            | header::HOST
            | header::CONNECTION
            | header::UPGRADE
            | header::EXPECT
            | header::AUTHORIZATION
            | header::PROXY_AUTHORIZATION
            | header::COOKIE
            | header::SET_COOKIE
            | header::CONTENT_ENCODING
            | header::CONTENT_TYPE
            | header::CONTENT_RANGE
            | header::RANGE
            | header::CACHE_CONTROL
            | header::MAX_FORWARDS
    ) && !matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

#[cfg(test)]
mod tests {
    use super::{Chunked, Found};
    use bytes::BytesMut;
    use http::HeaderMap;
    use proptest::prelude::*;

    /// Content, trailers, and how much follows; `None` when the end has not come.
    type Decoded = Option<(Vec<u8>, Option<HeaderMap>, usize)>;

    /// Decodes what comes in pieces of `step`.
    fn decode(bytes: &[u8], step: usize) -> Result<Decoded, String> {
        let (mut chunked, mut buffer, mut content) = (Chunked::new(1024), BytesMut::new(), Vec::new());
        let mut pieces = bytes.chunks(step);
        loop {
            match chunked.decode(&mut buffer).map_err(|error| error.to_string())? {
                Found::Data(data) => content.extend_from_slice(&data),
                Found::End(trailers) => {
                    let rest = buffer.len() + pieces.map(<[u8]>::len).sum::<usize>();
                    return Ok(Some((content, trailers, rest)));
                }
                Found::NeedMore => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn chunks_are_read_however_they_come() {
        let body = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0\r\nX-Sum: 7\r\nHost: evil\r\n\r\nGET";
        for step in 1..body.len() {
            let (content, trailers, rest) = decode(body, step).unwrap().unwrap();
            assert_eq!((content.as_slice(), rest), (&b"hello world"[..], 3), "{step}");
            let trailers = trailers.unwrap();
            assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, &b"7"[..]));
        }
        assert_eq!(decode(b"0\r\n\r\n", 1).unwrap().unwrap(), (vec![], None, 0));
        assert_eq!(decode(b"5\r\nhell", 3).unwrap(), None);
    }

    #[test]
    fn what_is_not_exactly_a_chunk_is_refused() {
        for bad in [
            &b"\r\nhello"[..],
            b";a\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhelloX",
            b"5;a\nb\r\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"5,5\r\n",
            b"ffffffffffffffff\r\n",
            b"00000000000000005\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\n X: 1\r\n\r\n",
            b"0\r\nX: 1\r\n folded\r\n\r\n",
            b"0\r\n\n",
        ] {
            assert!(decode(bad, bad.len()).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(decode(&[b"5;".to_vec(), vec![b'a'; 600]].concat(), 100).is_err());
        assert!(decode(&[b"0\r\nX: ".to_vec(), vec![b'a'; 2000]].concat(), 100).is_err());
        let tiny = [b"1;".to_vec(), vec![b'a'; 400], b"\r\nx\r\n".to_vec()].concat().repeat(100);
        assert!(decode(&tiny, 1000).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1_usize..50) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend(format!("{:x}\r\n", part.len()).into_bytes());
                wire.extend(part);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            prop_assert_eq!(decode(&wire, step).unwrap(), Some((parts.concat(), None, 0)));
        }

        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..50) {
            let _ = decode(&bytes, step);
        }
    }
}
