//! Port ranges as the prefixes that a longest-prefix trie can hold.

/// The fewest prefixes that together are exactly the ports `first..=last`, as (port, bits).
pub(super) fn prefixes(first: u16, last: u16) -> impl Iterator<Item = (u16, u32)> {
    let end = u32::from(last) + 1;
    let mut from = u32::from(first);
    std::iter::from_fn(move || {
        if from >= end {
            return None;
        }
        // The largest block that starts here, by alignment and by what is left.
        let aligned = if from == 0 { 16 } else { from.trailing_zeros() };
        let fits = (end - from).ilog2();
        let size = aligned.min(fits);
        let prefix = (u16::try_from(from).ok()?, 16 - size);
        from += 1 << size;
        Some(prefix)
    })
}

#[cfg(test)]
mod tests {
    use super::prefixes;
    use proptest::prelude::*;

    #[test]
    fn known_ranges() {
        assert_eq!(prefixes(0, 65535).collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(prefixes(443, 443).collect::<Vec<_>>(), [(443, 16)]);
        assert_eq!(prefixes(9000, 9010).collect::<Vec<_>>(), [(9000, 13), (9008, 15), (9010, 16)]);
        assert_eq!(prefixes(5, 4).count(), 0);
    }

    proptest! {
        #[test]
        fn exactly_the_range(a: u16, b: u16, probe: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let holders = prefixes(first, last)
                .filter(|&(port, bits)| bits == 0 || probe >> (16 - bits) == port >> (16 - bits))
                .count();
            prop_assert_eq!(holders, usize::from((first..=last).contains(&probe)));
            prop_assert!(prefixes(first, last).count() <= 30);
        }
    }
}
