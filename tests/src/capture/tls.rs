//! What TLS shows to anybody on the way: a server's first message (RFC 8446, 4.1.3).

use super::Captured;

/// Content type `handshake` and handshake type `server_hello`.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;

/// Extension `supported_versions`.
const SUPPORTED_VERSIONS: u16 = 43;

/// A ServerHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// The server's TCP port.
    pub port: u16,
    /// The version that it chose: 0x0304 is TLS 1.3.
    pub version: Option<u16>,
}

/// Every ServerHello in the capture, as far as it lies in one frame.
#[must_use]
pub fn server_hellos(captured: &Captured) -> Vec<ServerHello> {
    captured.frames.iter().filter_map(|frame| server_hello(frame)).collect()
}

fn server_hello(frame: &[u8]) -> Option<ServerHello> {
    let segment = segment(frame)?;
    let port = read(segment, 0)?;
    let data = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
    // Record header: type, version, length. Handshake header: type, three bytes of length.
    if *data.first()? != HANDSHAKE || *data.get(5)? != SERVER_HELLO {
        return None;
    }
    // Version, random, session id, cipher suite, compression, and then the extensions.
    let session = usize::from(*data.get(43)?);
    let mut extensions = data.get(44 + session + 5..)?;
    let mut version = None;
    while let (Some(kind), Some(length)) = (read(extensions, 0), read(extensions, 2)) {
        if kind == SUPPORTED_VERSIONS {
            version = read(extensions, 4);
        }
        let Some(rest) = extensions.get(4 + usize::from(length)..) else { break };
        extensions = rest;
    }
    Some(ServerHello { port, version })
}

/// The TCP segment in an Ethernet frame.
fn segment(frame: &[u8]) -> Option<&[u8]> {
    const TCP: u8 = 6;
    let packet = frame.get(14..)?;
    match read(frame, 12)? {
        0x0800 if *packet.get(9)? == TCP => packet.get(usize::from(packet[0] & 0xf) * 4..),
        0x86dd if *packet.get(6)? == TCP => packet.get(40..),
        _ => None,
    }
}

fn read(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_of_tls_1_3_is_seen_behind_ipv6() {
        let mut frame = vec![0; 14 + 40 + 20];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14 + 6] = 6;
        frame[54..56].copy_from_slice(&15_008_u16.to_be_bytes());
        frame[54 + 12] = 0x50;
        frame.extend([22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3]);
        frame.extend([7; 32]);
        // No session, a suite, no compression; key_share of one byte, supported_versions.
        frame.extend([0, 0x13, 0x01, 0, 0, 11, 0, 51, 0, 1, 9, 0, 43, 0, 2, 3, 4]);
        let captured = Captured { frames: vec![vec![1, 2], frame], left_out: 0 };
        assert_eq!(server_hellos(&captured), [ServerHello { port: 15_008, version: Some(0x0304) }]);
        assert!(captured.contains(&[0x13, 0x01]) && !captured.contains(b"marker"));
    }
}
