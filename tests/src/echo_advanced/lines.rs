//! The lines by which server and client tell things: `Name=value`, headers as `Name=header:value`.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, HeaderName};

/// What is told, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    /// One fact.
    pub(super) fn tell(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name}={value}");
    }

    /// Every value of every header, by the names in order; as `shown` writes names.
    pub(super) fn headers(&mut self, name: &str, headers: &HeaderMap, shown: fn(&HeaderName) -> String) {
        let mut all: Vec<_> = headers
            .iter()
            .map(|(header, value)| (shown(header), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        // Values of one header stay in the order in which they came.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (header, value) in all {
            self.tell(name, format_args!("{header}:{value}"));
        }
    }

    /// The address of whoever called, an IPv4 one as such.
    pub(super) fn caller(&mut self, address: IpAddr) {
        self.tell("IP", address.to_canonical());
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// A header's name as HTTP/1.1 programs are used to write it: `x-a` as `X-A`.
pub(super) fn title_case(name: &HeaderName) -> String {
    let mut first = true;
    let raised = name.as_str().chars().map(|letter| {
        let shown = if first { letter.to_ascii_uppercase() } else { letter };
        first = letter == '-';
        shown
    });
    raised.collect()
}

/// A header's name as it is on the wire of HTTP/2.
pub(super) fn lower_case(name: &HeaderName) -> String {
    name.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{Lines, title_case};

    #[test]
    fn headers_are_in_order_and_every_value_has_its_line() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-b-c", "2"), ("accept", "a"), ("x-b-c", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut lines = Lines::default();
        lines.headers("RequestHeader", &headers, title_case);
        assert_eq!(
            lines.into_text(),
            "RequestHeader=Accept:a\nRequestHeader=X-B-C:2\nRequestHeader=X-B-C:1\n"
        );
    }
}
