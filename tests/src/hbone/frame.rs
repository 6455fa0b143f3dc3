//! Frames (RFC 9113, 4.1), as octets: what the tests write is not limited to what an honest HTTP/2 library writes.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
};

/// What a client begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most that is read of one frame.
const LARGEST: usize = 1 << 20;

/// The END_STREAM and the ACK flag.
pub const END_STREAM: u8 = 0x1;
/// The ACK flag of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// The END_HEADERS flag.
pub const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A type of frame (RFC 9113, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of the RFC")]
#[repr(u8)]
pub enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    RstStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    Unknown = 0xff,
}

impl Kind {
    fn of(octet: u8) -> Self {
        use Kind::{
            Continuation, Data, GoAway, Headers, Ping, Priority, PushPromise, RstStream, Settings,
            WindowUpdate,
        };
        let known = [
            Data,
            Headers,
            Priority,
            RstStream,
            Settings,
            PushPromise,
            Ping,
            GoAway,
            WindowUpdate,
            Continuation,
        ];
        known.into_iter().find(|kind| *kind as u8 == octet).unwrap_or(Self::Unknown)
    }
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame to send.
    #[must_use]
    pub fn new(kind: Kind, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// SETTINGS of these identifiers and values.
    #[must_use]
    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let pairs = settings.iter();
        let octets = pairs.flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()));
        Self::new(Kind::Settings, 0, 0, octets.collect::<Vec<u8>>())
    }

    /// RST_STREAM with this error code.
    #[must_use]
    pub fn rst_stream(stream: u32, code: u32) -> Self {
        Self::new(Kind::RstStream, 0, stream, code.to_be_bytes())
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut octets = vec![length[1], length[2], length[3], self.kind as u8, self.flags];
        octets.extend(self.stream.to_be_bytes());
        octets.extend_from_slice(&self.payload);
        octets
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the connection does not take it.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        to.write_all(&self.octets())
    }

    /// Reads the next one.
    ///
    /// # Errors
    /// If the connection ends, or the frame is larger than anybody was allowed to send.
    pub fn read(mut from: impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Ok(Self { kind: Kind::of(head[3]), flags: head[4], stream, payload })
    }

    /// The settings that a SETTINGS frame carries.
    #[must_use]
    pub fn settings_carried(&self) -> BTreeMap<u16, u32> {
        let pairs = self.payload.chunks_exact(6);
        pairs
            .map(|pair| {
                let id = u16::from_be_bytes([pair[0], pair[1]]);
                (id, u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
            })
            .collect()
    }

    /// The error code of RST_STREAM or GOAWAY.
    #[must_use]
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            Kind::RstStream => 0,
            Kind::GoAway => 4,
            _ => return None,
        };
        let octets = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(octets.try_into().ok()?))
    }

    /// The part of the header block that a HEADERS frame carries, without padding and priority.
    #[must_use]
    pub fn header_block(&self) -> &[u8] {
        let mut block = self.payload.as_slice();
        if self.kind == Kind::Headers {
            let padding = if self.flags & PADDED != 0 { block.first().copied().unwrap_or(0) } else { 0 };
            block = block.get(usize::from(self.flags & PADDED != 0)..).unwrap_or_default();
            block = block.get(if self.flags & PRIORITY == 0 { 0 } else { 5 }..).unwrap_or_default();
            block = block.get(..block.len().saturating_sub(padding.into())).unwrap_or_default();
        }
        block
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} flags={:#x} stream={} length={}",
            self.kind,
            self.flags,
            self.stream,
            self.payload.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let frame = Frame::settings(&[(4, 65_535), (3, 100)]);
        assert_eq!(frame.octets()[..9], [0, 0, 12, 4, 0, 0, 0, 0, 0]);
        let read = Frame::read(frame.octets().as_slice()).unwrap();
        assert_eq!((read.settings_carried()[&4], &read), (65_535, &frame));
    }

    #[test]
    fn padding_and_priority_are_no_part_of_the_block() {
        let padded = Frame::new(Kind::Headers, PADDED | PRIORITY, 1, [2, 9, 9, 9, 9, 9, 0x88, 0, 0]);
        assert_eq!(padded.header_block(), [0x88]);
    }
}
