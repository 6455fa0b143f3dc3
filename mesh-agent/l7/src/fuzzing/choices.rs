//! Bytes as a list of choices.

/// Bytes that decide, one by one, and 0 when they are used up: every byte of a fuzzer's input moves
/// one choice.
#[derive(Debug)]
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number below `count`, which is not 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % count
    }

    pub(super) fn maybe(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of `items`, of which there is one at least.
    pub(super) fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}
