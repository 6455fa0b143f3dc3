//! Parameters of a request.

use std::str::FromStr;

use super::AdminError;

/// The pairs of a query string, percent-decoded (RFC 3986, 2.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string; a pair without `=` has an empty value.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The value of a parameter; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Every value of a parameter, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is a number, if it is there.
    pub(super) fn number<N: FromStr>(&self, name: &'static str) -> Result<Option<N>, AdminError> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| AdminError::Parameter {
                name,
                value: text.to_owned(),
                problem: "not a number in range",
            }),
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn pairs_are_decoded() {
        let query = Query::parse("source=bank%2Fteller-1&port=80&x&y=%zz%");
        assert_eq!(query.text("source"), "bank/teller-1");
        assert_eq!(query.number::<u16>("port").unwrap(), Some(80));
        assert_eq!(query.text("x"), "");
        assert_eq!(query.text("y"), "%zz%");
        assert_eq!(query.number::<u16>("none").unwrap(), None);
        let error = Query::parse("port=99999").number::<u16>("port").unwrap_err();
        assert_eq!(error.to_string(), "parameter port is \"99999\": not a number in range");
    }
}
