//! Header blocks (HPACK, RFC 7541): written in the plainest form, read in every form.

use std::collections::VecDeque;

use super::huffman;

/// The most that our decoder promises to remember (the default of SETTINGS_HEADER_TABLE_SIZE).
const TABLE_SIZE: usize = 4096;

/// What an entry counts beside its octets (RFC 7541, 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// The static table (RFC 7541, appendix A), from index 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A name and its value.
pub type Field = (String, String);

/// A header block that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header block cannot be read: {0}")]
pub struct Malformed(&'static str);

/// Writes a block of literal fields that nobody is asked to remember (RFC 7541, 6.2.2).
#[must_use]
pub fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer behind a prefix of so many bits (RFC 7541, 5.1), the bits before it zero.
fn integer(block: &mut Vec<u8>, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return block.push(value as u8);
    }
    block.push(most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    block.push(rest as u8);
}

/// Reads the blocks of one connection in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    remembered: VecDeque<Field>,
}

impl Decoder {
    /// The fields of a block, in order.
    ///
    /// # Errors
    /// If it is not a block.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>, Malformed> {
        let mut reader = Reader(block);
        let mut fields = Vec::new();
        while let Some(first) = reader.0.first().copied() {
            match first {
                0x80.. => {
                    let index = reader.integer(7)?;
                    fields.push(self.entry(index)?);
                }
                0x40..=0x7f => {
                    let field = self.literal(&mut reader, 6)?;
                    self.remember(field.clone());
                    fields.push(field);
                }
                // A new size of the table: ours is the largest that is allowed, and never shrunk.
                0x20..=0x3f => drop(reader.integer(5)?),
                _ => fields.push(self.literal(&mut reader, 4)?),
            }
        }
        Ok(fields)
    }

    fn literal(&self, reader: &mut Reader<'_>, prefix: u32) -> Result<Field, Malformed> {
        let name = match reader.integer(prefix)? {
            0 => reader.text()?,
            index => self.entry(index)?.0,
        };
        Ok((name, reader.text()?))
    }

    fn entry(&self, index: usize) -> Result<Field, Malformed> {
        let index = index.checked_sub(1).ok_or(Malformed("index 0"))?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        self.remembered.get(index - STATIC.len()).cloned().ok_or(Malformed("an index beyond the table"))
    }

    fn remember(&mut self, field: Field) {
        self.remembered.push_front(field);
        let size = |(name, value): &Field| name.len() + value.len() + ENTRY_OVERHEAD;
        while self.remembered.iter().map(size).sum::<usize>() > TABLE_SIZE {
            self.remembered.pop_back();
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octet(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn integer(&mut self, prefix: u32) -> Result<usize, Malformed> {
        let most = (1 << prefix) - 1;
        let mut value = usize::from(self.octet()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let octet = self.octet()?;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("an integer without an end"))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let is_huffman = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        if is_huffman {
            huffman::decode(text).ok_or(Malformed("a wrong Huffman code"))
        } else {
            String::from_utf8(text.to_vec()).map_err(|_| Malformed("not text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, C.4: three requests on one connection.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut decoder = Decoder::default();
        let first = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4,
            0xff,
        ];
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let fields = decoder.decode(&first).unwrap();
        assert_eq!(fields.last().unwrap(), &(":authority".to_owned(), "www.example.com".to_owned()));
        let fields = decoder.decode(&second).unwrap();
        assert_eq!(fields[3].1, "www.example.com");
        assert_eq!(fields[4], ("cache-control".to_owned(), "no-cache".to_owned()));
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(40_000);
        let fields = [(":method", "CONNECT"), (":authority", "[fd00::1]:8080"), ("x-long", &long)];
        let read = Decoder::default().decode(&encode(&fields)).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, fields);
    }
}
