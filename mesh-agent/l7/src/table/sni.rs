//! Which rule of a port's TLSRoutes a connection gets, by the server name its ClientHello asks for.

use std::collections::HashMap;

/// Hostnames in order of precedence, and what each leads to.
///
/// Gateway API orders TLSRoutes as HTTPRoutes by hostname: the longest exact name, then the longest
/// name with a wildcard, then the older route. The controller writes them in that order; like
/// [`paths`](super::paths) the index adds none of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SniTable {
    exact: HashMap<String, (usize, usize)>,
    /// By the name after `*.`.
    below: HashMap<String, (usize, usize)>,
    /// A route without hostnames takes any name, and none.
    any: Option<(usize, usize)>,
}

impl SniTable {
    /// Builds a table of entries in order of precedence: a server name, `*.` and what is below it, or
    /// nothing for any; and the rule's index.
    #[must_use]
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        let mut table = Self::default();
        for (order, (name, rule)) in entries.into_iter().enumerate() {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                _ if name.is_empty() => {
                    table.any.get_or_insert((order, rule));
                }
                Some(suffix) => {
                    table.below.entry(suffix.to_owned()).or_insert((order, rule));
                }
                None => {
                    table.exact.entry(name).or_insert((order, rule));
                }
            }
        }
        table
    }

    /// The server names and their rules, in order: `*.` and what is below it, or nothing for any.
    #[must_use]
    pub fn names(&self) -> Vec<(String, usize)> {
        let exact = self.exact.iter().map(|(name, at)| (name.clone(), *at));
        let below = self.below.iter().map(|(name, at)| (format!("*.{name}"), *at));
        let mut all: Vec<_> = exact.chain(below).chain(self.any.map(|at| (String::new(), at))).collect();
        all.sort_unstable_by_key(|(_, (order, _))| *order);
        all.into_iter().map(|(name, (_, rule))| (name, rule)).collect()
    }

    /// The rule for a server name; `None` asks for a ClientHello without one. No rule is a
    /// connection that is closed.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<usize> {
        let name = name.map(str::to_ascii_lowercase);
        let name = name.as_deref().map(|name| name.strip_suffix('.').unwrap_or(name));
        let exact = name.and_then(|name| self.exact.get(name));
        let suffixes =
            name.into_iter().flat_map(|name| name.match_indices('.').map(|(at, _)| &name[at + 1..]));
        let below = suffixes.filter_map(|suffix| self.below.get(suffix));
        let found = exact.into_iter().chain(below).chain(&self.any);
        found.min().map(|&(_, rule)| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::SniTable;
    use proptest::prelude::*;

    #[test]
    fn names_and_wildcards() {
        let entries = [("vault.bank", 0), ("*.bank", 1), ("x.y", 1), ("", 2)];
        let table = SniTable::new(entries);
        for (name, rule) in [
            (Some("vault.bank"), 0),
            (Some("VAULT.bank."), 0),
            (Some("a.bank"), 1),
            (Some("a.b.bank"), 1),
            (Some("x.y"), 1),
            (Some("bank"), 2),
            (Some(""), 2),
            (None, 2),
        ] {
            assert_eq!(table.find(name), Some(rule), "{name:?}");
        }
        assert_eq!(SniTable::new(entries[..3].iter().copied()).find(None), None);
        assert_eq!(SniTable::new(entries[..3].iter().copied()).find(Some("bank")), None);
    }

    proptest! {
        #[test]
        fn it_is_the_first_that_matches(
            entries in prop::collection::vec("((\\*\\.)?[ab](\\.[ab]){0,2})?", 0..8),
            name in "[ab](\\.[ab]){0,3}",
        ) {
            let matches = |hostname: &String| match hostname.strip_prefix('*') {
                Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
                None => *hostname == name,
            };
            let expected = entries.iter().position(|entry| entry.is_empty() || matches(entry));
            let table = SniTable::new(entries.iter().enumerate().map(|(rule, entry)| (entry.as_str(), rule)));
            prop_assert_eq!(table.find(Some(&name)), expected);
        }
    }
}
