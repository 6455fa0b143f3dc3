//! WebSocket as far as an echo needs it (RFC 6455): the handshake's key, and short text frames.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What the server adds to the key (RFC 6455, 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// FIN and the opcode of text.
const TEXT: u8 = 0x81;
/// FIN and the opcode of an orderly end.
const CLOSE: u8 = 0x88;
/// Longest payload whose length stands in the second octet.
const SHORT: usize = 125;

/// The `Sec-WebSocket-Accept` that answers a key.
pub(super) fn accept(key: &str) -> String {
    base64(&sha1(format!("{key}{MAGIC}").as_bytes()))
}

/// Writes a frame; a client's is masked (RFC 6455, 5.3), here with zeros, which change nothing.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    text: &str,
    masked: bool,
) -> io::Result<()> {
    let text = &text.as_bytes()[..text.len().min(SHORT)];
    let mut frame = vec![TEXT, text.len() as u8];
    if masked {
        frame[1] |= 0x80;
        frame.extend([0; 4]);
    }
    frame.extend_from_slice(text);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Reads a frame; `None` once the other side ends.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut head = [0; 2];
    if let Err(error) = stream.read_exact(&mut head).await {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    if head[0] == CLOSE {
        return Ok(None);
    }
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let length = usize::from(head[1] & 0x7f);
    if head[0] != TEXT || length > SHORT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("not a short text frame: {head:?}")));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().enumerate().for_each(|(index, octet)| *octet ^= mask[index % 4]);
    Ok(Some(String::from_utf8_lossy(&payload).into_owned()))
}

/// FIPS 180-4, 6.1: what the handshake is made of, and good for nothing else any more.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, octets) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
        }
        for index in 16..80 {
            words[index] =
                (words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (index, word) in words.iter().enumerate() {
            let (mixed, constant) = match index / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next.wrapping_add(*word));
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (octets, word) in digest.chunks_exact_mut(4).zip(state) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let value = group.iter().fold(0_u32, |value, octet| value << 8 | u32::from(*octet));
        let value = value << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (value >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, 1.3 and RFC 3174, 7.3.
    #[test]
    fn keys_are_answered_as_the_standard_does() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for length in 0..200 {
            let message = vec![b'x'; length];
            assert_eq!(sha1(&message).len(), 20);
        }
        let hex = |message: &[u8]| sha1(message).map(|octet| format!("{octet:02x}")).concat();
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    }

    #[tokio::test]
    async fn frames_come_as_they_went() {
        let (mut one, mut other) = tokio::io::duplex(1024);
        write(&mut one, "hello", true).await.unwrap();
        write(&mut one, "again", false).await.unwrap();
        drop(one);
        assert_eq!(read(&mut other).await.unwrap().as_deref(), Some("hello"));
        assert_eq!(read(&mut other).await.unwrap().as_deref(), Some("again"));
        assert_eq!(read(&mut other).await.unwrap(), None);
    }
}
