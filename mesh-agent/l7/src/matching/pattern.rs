//! Regular expressions in linear time.

use regex::bytes::{Regex, RegexBuilder};

use super::MatchError;

/// The longest pattern, in bytes: that of the longest value in Gateway API.
pub const MAX_PATTERN: usize = 4096;
/// What one compiled pattern may take, in bytes.
const SIZE_LIMIT: usize = 1 << 18;
/// What the cache of one running pattern may take, in bytes.
const CACHE_LIMIT: usize = 1 << 18;

/// A regular expression that has to match the whole value, in the dialect of the `regex` crate: RE2
/// without its extensions. Gateway API leaves dialect and anchoring to implementations; the whole
/// value is what Envoy's `safe_regex` and so other meshes take.
///
/// It takes time linear in pattern times value, whatever both say: no look-around, no back-references.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is none, too long, or too large compiled.
    pub fn new(text: &str) -> Result<Self, MatchError> {
        if text.len() > MAX_PATTERN {
            return Err(MatchError::TooLong { length: text.len(), limit: MAX_PATTERN });
        }
        let compile =
            |text: &str| RegexBuilder::new(text).size_limit(SIZE_LIMIT).dfa_size_limit(CACHE_LIMIT).build();
        // Alone first: `a)|(b` is none, but would be one inside of the group.
        let anchored = compile(text).and_then(|_| compile(&format!(r"\A(?:{text})\z")));
        anchored.map(Self).map_err(|error| {
            // The last line says what is wrong, those before draw a picture of where.
            let picture = error.to_string();
            let reason = picture.lines().last().unwrap_or_default();
            MatchError::Pattern { text: text.into(), reason: reason.trim_start_matches("error: ").into() }
        })
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        self.0.is_match(value)
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let anchored = self.0.as_str();
        anchored.strip_prefix(r"\A(?:").and_then(|text| text.strip_suffix(r")\z")).unwrap_or(anchored)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::{MAX_PATTERN, Pattern};

    #[test]
    fn the_whole_value_matches() {
        for (text, value, expected) in [
            ("/v[0-9]+/.*", "/v1/x", true),
            ("/v[0-9]+/.*", "/api/v1/x", false),
            ("/v[0-9]+", "/v1/x", false),
            ("a|ab", "ab", true),
            ("a|b", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("(?i)GOLD", "gold", true),
            ("(?m)^a$", "a\nb", false),
            ("a", "a\n", false),
        ] {
            let pattern = Pattern::new(text).unwrap();
            assert_eq!(pattern.matches(value.as_bytes()), expected, "{text} {value}");
            assert_eq!(pattern.as_str(), text);
        }
        assert!(Pattern::new("[^a]").unwrap().matches("é".as_bytes()));
        assert!(!Pattern::new("a").unwrap().matches(b"\xff"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["(", "a)|(b", "[", "(?<=a)b", r"(a)\1", r"\w{1000}{1000}", "(?P<"] {
            let error = Pattern::new(text).unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)).is_err());
    }

    /// Patterns that take exponential time in engines that backtrack.
    #[test]
    fn no_pattern_takes_long() {
        let value = "a".repeat(30_000);
        for text in ["(a+)+b", "(a|aa)+b", "(.*)*b", "(a?){50}a{50}b"] {
            assert!(!Pattern::new(text).unwrap().matches(value.as_bytes()), "{text}");
        }
    }
}
