//! The Huffman code of HPACK (RFC 7541, appendix B), from the lengths alone: codes of one length count up with the
//! symbols, and the first of a length follows the last of the one before.

/// How many bits each octet takes. The end-of-string symbol is thirty ones and never sent.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code.
const LONGEST: u8 = 30;

/// Decodes a string; `None` if it is not one.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let by_length = symbols_by_length();
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u32, 0_u8);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        if length > LONGEST {
            return None;
        }
        let (first, symbols) = &by_length[usize::from(length)];
        if let Some(symbol) = code.checked_sub(*first).and_then(|index| symbols.get(index as usize)) {
            text.push(*symbol);
            (code, length) = (0, 0);
        }
    }
    // What is left over is padding: fewer than eight bits, all of them ones.
    let padding = length < 8 && code + 1 == 1 << length;
    padding.then(|| String::from_utf8(text).ok()).flatten()
}

/// For every length: the first code, and the symbols in the order of their codes.
fn symbols_by_length() -> Vec<(u32, Vec<u8>)> {
    let mut next = 0;
    let lengths = 0..=LONGEST;
    lengths
        .map(|length| {
            next <<= 1;
            let first = next;
            let symbols: Vec<u8> =
                (0..=u8::MAX).filter(|symbol| LENGTHS[usize::from(*symbol)] == length).collect();
            next += u32::try_from(symbols.len()).unwrap_or(u32::MAX);
            (first, symbols)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, C.4.1 and C.6.1.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&host).as_deref(), Some("www.example.com"));
        assert_eq!(decode(&[0x64, 0x02]).as_deref(), Some("302"));
        assert_eq!(decode(&[0x00; 5]).as_deref(), Some("00000000"));
    }

    #[test]
    fn padding_that_is_not_ones_is_refused() {
        assert_eq!(decode(&[0x64, 0x00, 0x00, 0xfe]), None);
    }
}
