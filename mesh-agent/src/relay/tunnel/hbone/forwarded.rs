//! `Forwarded`: for whom a proxy makes a request (RFC 7239).

use std::net::SocketAddr;

use super::authority;

/// Writes `for` with an address and a port; the colon asks for quotes (section 6).
#[must_use]
pub(crate) fn format(client: SocketAddr) -> String {
    format!("for=\"{}\"", authority::format(client))
}

/// The address and port in `for` of the last element, which the nearest proxy wrote. `None` where
/// it is a name, `unknown`, has no port, or the header is malformed.
#[must_use]
pub(crate) fn last_for(header: &str) -> Option<SocketAddr> {
    let mut found = None;
    let mut rest = header;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        if name.trim().eq_ignore_ascii_case("for") {
            found = authority::parse(&value).ok();
        }
        let after = after.trim_start();
        rest = match after.chars().next() {
            None => return found,
            Some(';') => &after[1..],
            Some(',') => {
                found = None;
                &after[1..]
            }
            Some(_) => return None,
        };
    }
}

/// A token or a quoted string (RFC 9110, 5.6.2 and 5.6.4), and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut content = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((content, &quoted[at + 1..])),
            '\\' => content.push(characters.next()?.1),
            other => content.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{format, last_for};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    proptest! {
        #[test]
        fn nothing_breaks_it(text in ".{0,80}") {
            let _ = last_for(&text);
        }

        #[test]
        fn what_is_written_is_read(ip: std::net::IpAddr, port in 1..=u16::MAX) {
            let address = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(last_for(&format(address)), Some(address));
        }
    }

    #[test]
    fn the_examples_of_the_rfc_and_of_others() {
        for (header, expected) in [
            ("for=\"10.0.0.1:4711\"", Some("10.0.0.1:4711")),
            ("For=\"[2001:db8:cafe::17]:4711\"", Some("[2001:db8:cafe::17]:4711")),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", None),
            ("for=\"10.0.0.9:1\", for=\"10.0.0.1:2\";by=\"x\"", Some("10.0.0.1:2")),
            ("by=\"a,b;c\";for=\"10.0.0.1:2\"", Some("10.0.0.1:2")),
            ("for=\"_mystery\"", None),
            ("for=unknown", None),
            ("for=\"10.0.0.1:2", None),
            ("for", None),
            ("", None),
        ] {
            assert_eq!(last_for(header), expected.map(|text| text.parse().unwrap()), "{header}");
        }
    }
}
