//! Cuts the body of a watch into lines, each of which is one event.

/// No event is longer: an object has at most 3 MiB in the API server's store, and JSON is not four
/// times that.
pub(super) const LINE_LIMIT: usize = 16 << 20;

/// A line of the body, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// It is longer than the limit and was passed over.
    TooLong,
}

/// Bytes in, lines out. Holds at most a line of the limit's length.
#[derive(Debug)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// The line that has begun is too long already.
    too_long: bool,
    limit: usize,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { begun: Vec::new(), too_long: false, limit }
    }

    /// Takes more of the body; returns the lines that end in it. Empty lines are left out.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.begun);
            if std::mem::take(&mut self.too_long) {
                lines.push(Line::TooLong);
            } else if !line.is_empty() {
                lines.push(Line::Whole(line));
            }
        }
        self.extend(rest);
        lines
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.too_long || self.begun.len() + bytes.len() > self.limit {
            self.too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Line, Lines};

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn a_line_that_is_too_long_is_told_and_the_next_is_read() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.push(b"abcd\nabc"), [whole("abcd")]);
        assert_eq!(lines.push(b"de"), []);
        assert_eq!(lines.push(b"fgh\n\nok\n"), [Line::TooLong, whole("ok")]);
    }

    proptest! {
        #[test]
        fn where_the_body_is_cut_does_not_matter(body in "[ab\n]{0,40}", size in 1_usize..8) {
            let mut lines = Lines::new(5);
            let cut: Vec<Line> = body.as_bytes().chunks(size).flat_map(|part| lines.push(part)).collect();
            prop_assert_eq!(cut, Lines::new(5).push(body.as_bytes()));
        }
    }
}
