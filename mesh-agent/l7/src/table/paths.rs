//! The index of a table's paths.
//!
//! A request's path has one exact value and one chain of prefixes; each keeps the entries that have
//! it, in order. The first match of every list, taken over all lists, is the first of the table, so
//! the order of precedence is the controller's alone and the index adds none of its own.

use std::collections::HashMap;

use crate::matching::PathMatch;

/// Which entries may match a path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Paths {
    exact: HashMap<String, Vec<usize>>,
    /// A trie of segments; the first node is the root, which matches every path.
    nodes: Vec<Node>,
    /// Entries that have to be asked: patterns.
    rest: Vec<usize>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    below: HashMap<String, usize>,
    entries: Vec<usize>,
}

impl Paths {
    /// Indexes the paths of entries that are numbered in order.
    pub fn new<'a>(paths: impl Iterator<Item = &'a PathMatch>) -> Self {
        let mut index = Self { nodes: vec![Node::default()], ..Self::default() };
        for (entry, path) in paths.enumerate() {
            match path {
                PathMatch::Exact(value) => {
                    index.exact.entry(value.as_str().to_owned()).or_default().push(entry)
                }
                PathMatch::Prefix(value) => {
                    let node = index.node(value.as_str());
                    index.nodes[node].entries.push(entry);
                }
                PathMatch::Regex(_) => index.rest.push(entry),
            }
        }
        index
    }

    /// The node of a prefix, made if need be.
    fn node(&mut self, prefix: &str) -> usize {
        let mut node = 0;
        for segment in prefix.split('/').skip(1) {
            let next = self.nodes.len();
            node = *self.nodes[node].below.entry(segment.to_owned()).or_insert(next);
            if node == next {
                self.nodes.push(Node::default());
            }
        }
        node
    }

    /// The first entry that may match `path` and of which `matches` is true; `matches` is asked for
    /// each at most once, and for a pattern has to look at the path itself.
    pub fn first(&self, path: &str, mut matches: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut best = None;
        let mut look = |entries: &[usize]| {
            // In order, so nothing after the best so far can be better.
            let better = entries.iter().copied().take_while(|&entry| best.is_none_or(|best| entry < best));
            if let Some(entry) = better.into_iter().find(|&entry| matches(entry)) {
                best = Some(entry);
            }
        };
        if let Some(entries) = self.exact.get(path) {
            look(entries);
        }
        let mut node = self.nodes.first();
        let mut segments = path.split('/').skip(1);
        while let Some(Node { below, entries }) = node {
            look(entries);
            node = segments.next().and_then(|segment| below.get(segment)).map(|&next| &self.nodes[next]);
        }
        look(&self.rest);
        best
    }
}
