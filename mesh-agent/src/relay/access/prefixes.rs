//! A longest-prefix table that never changes: one sorted slice, and the prefix lengths in it.
//!
//! A lookup is one binary search per distinct length, longest first. Policies use few lengths (a
//! whole port, or everything), so it is two or three searches, and an entry costs no more memory
//! than itself.

/// Values by prefixes of keys of `N` bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prefixes<const N: usize, V> {
    /// The lengths that occur, longest first, each with where its entries begin and end.
    lengths: Box<[(u32, std::ops::Range<usize>)]>,
    /// Sorted by length, longest first, then by key.
    entries: Box<[([u8; N], V)]>,
}

impl<const N: usize, V> Default for Prefixes<N, V> {
    fn default() -> Self {
        Self { lengths: Box::default(), entries: Box::default() }
    }
}

impl<const N: usize, V> Prefixes<N, V> {
    /// From prefix length in bits (at most `8 * N`), key and value.
    pub(super) fn new(entries: impl Iterator<Item = (u32, [u8; N], V)>) -> Self {
        let mut entries: Vec<_> =
            entries.map(|(length, key, value)| (length, masked(&key, length), value)).collect();
        entries.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut lengths: Vec<(u32, std::ops::Range<usize>)> = Vec::new();
        for (at, (length, ..)) in entries.iter().enumerate() {
            match lengths.last_mut() {
                Some((known, range)) if known == length => range.end = at + 1,
                _ => lengths.push((*length, at..at + 1)),
            }
        }
        Self {
            lengths: lengths.into(),
            entries: entries.into_iter().map(|(_, key, value)| (key, value)).collect(),
        }
    }

    /// The value of the longest prefix of `key`.
    pub(super) fn longest(&self, key: &[u8; N]) -> Option<&V> {
        self.lengths.iter().find_map(|(length, range)| {
            let of_length = &self.entries[range.clone()];
            let wanted = masked(key, *length);
            let found = of_length.binary_search_by(|(known, _)| known.cmp(&wanted)).ok()?;
            Some(&of_length[found].1)
        })
    }
}

/// The first `length` bits of a key, the others 0.
fn masked<const N: usize>(key: &[u8; N], length: u32) -> [u8; N] {
    let whole = (length / 8) as usize;
    std::array::from_fn(|at| match at.cmp(&whole) {
        std::cmp::Ordering::Less => key[at],
        std::cmp::Ordering::Equal => key[at] & !(0xff_u8 >> (length % 8)),
        std::cmp::Ordering::Greater => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::Prefixes;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Bits as characters: shares nothing with the code above.
    fn bits(key: &[u8]) -> String {
        key.iter().map(|byte| format!("{byte:08b}")).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_of_bit_strings(
            entries in prop::collection::hash_map((0..=24u32, prop::array::uniform3(0..4u8)), any::<u8>(), 0..40),
            keys in prop::collection::vec(prop::array::uniform3(0..4u8), 20),
        ) {
            let mut oracle = HashMap::new();
            let mut unique = Vec::new();
            for ((length, key), value) in entries {
                if oracle.insert(bits(&key)[..length as usize].to_owned(), value).is_none() {
                    unique.push((length, key, value));
                } else {
                    unique.retain(|(known, other, _)| {
                        (*known, &bits(other)[..*known as usize]) != (length, &bits(&key)[..length as usize])
                    });
                    unique.push((length, key, value));
                }
            }
            let table = Prefixes::new(unique.into_iter());
            for key in keys {
                let text = bits(&key);
                let expected = (0..=24).rev().find_map(|length| oracle.get(&text[..length]));
                prop_assert_eq!(table.longest(&key), expected);
            }
        }
    }
}
