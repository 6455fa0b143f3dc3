//! `Proxy-Status`: what a proxy found wrong (RFC 9209), a list of structured items (RFC 8941).

/// The identifier this proxy goes by.
const PROXY: &str = "mesh";
/// Characters of `details` that are written or kept.
const DETAILS: usize = 400;

/// What the nearest proxy said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProxyStatus {
    /// Its error type, such as `connection_refused`; empty when it named none.
    pub error: String,
    /// What else it said; may be empty.
    pub details: String,
}

/// Writes the header. Of `details` only printable ASCII is kept.
#[must_use]
pub(crate) fn format(error: &str, details: &str) -> String {
    let mut text = format!("{PROXY}; error={error}");
    let kept = details.chars().filter(|kept| matches!(kept, ' '..='~')).take(DETAILS);
    let mut kept = kept.peekable();
    if kept.peek().is_some() {
        text.push_str("; details=\"");
        for character in kept {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text
}

/// Reads the last member of the header, which the nearest proxy wrote. `None` when the header is
/// malformed.
#[must_use]
pub(crate) fn parse(header: &str) -> Option<ProxyStatus> {
    let mut status = ProxyStatus::default();
    let mut rest = header;
    loop {
        // The proxy's name, then its parameters.
        let (_, mut after) = bare_item(rest)?;
        loop {
            let trimmed = after.trim_start();
            let Some(parameter) = trimmed.strip_prefix(';') else { break };
            let parameter = parameter.trim_start();
            let end = parameter.find(|c: char| !is_key(c)).unwrap_or(parameter.len());
            let (key, follows) = parameter.split_at(end);
            if key.is_empty() {
                return None;
            }
            after = match follows.strip_prefix('=') {
                None => follows,
                Some(value) => {
                    let (value, follows) = bare_item(value)?;
                    match key {
                        "error" => status.error = value,
                        "details" => status.details = value.chars().take(DETAILS).collect(),
                        _ => {}
                    }
                    follows
                }
            };
        }
        rest = match after.trim_start() {
            "" => return Some(status),
            more => more.strip_prefix(',')?,
        };
        status = ProxyStatus::default();
    }
}

fn is_key(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || "_-.*".contains(character)
}

/// A string, or anything that runs to the next delimiter (token, number, boolean).
fn bare_item(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t', '"']).unwrap_or(text.len());
        let (item, rest) = text.split_at(end);
        return (!item.is_empty()).then(|| (item.to_owned(), rest));
    };
    let mut content = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((content, &quoted[at + 1..])),
            '\\' => content.push(characters.next().filter(|(_, next)| matches!(next, '"' | '\\'))?.1),
            ' '..='~' => content.push(character),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{ProxyStatus, format, parse};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_breaks_it(text in ".{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(details in "[ -~]{0,60}") {
            let status = parse(&format("connection_refused", &details)).unwrap();
            prop_assert_eq!(status, ProxyStatus { error: "connection_refused".into(), details });
        }
    }

    #[test]
    fn the_nearest_proxy_is_heard() {
        let read = |header: &str| parse(header).map(|status| status.error);
        assert_eq!(read("mesh; error=connection_timeout").as_deref(), Some("connection_timeout"));
        assert_eq!(
            read("r34.example.net; error=http_request_error, ExampleCDN; received-status=504").as_deref(),
            Some("")
        );
        assert_eq!(read("a;error=x;details=\"b, c\",d; error=y ; z").as_deref(), Some("y"));
        for malformed in ["", ";", "a; =b", "a; error=", "a; details=\"b", "a b"] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
    }
}
