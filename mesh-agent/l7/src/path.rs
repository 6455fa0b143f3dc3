//! The normal form of a request's path: made once, then the only one.
//!
//! Routes are matched on it, access rules are evaluated on it, and it is what the server gets. A
//! path that two parties could read differently is either brought to one reading here or refused.
//!
//! | in the path | becomes | because |
//! |---|---|---|
//! | `%41`, `%7e` | `A`, `~` | RFC 3986, 6.2.2.2: an escape of an unreserved character is that character |
//! | `%c3` | `%C3` | 6.2.2.1 |
//! | `.` and `..`, escaped or not | removed | 6.2.2.3 and 5.2.4; above the root is the root |
//! | `//` | `/` | most servers merge them, so `//admin` must not differ from `/admin`; no route can name an empty segment either |
//! | a byte that no path has (`"`, `{`, one of UTF-8) | escaped | the same octet, in the one spelling that RFC 3986 has for it |
//! | `%25`, `%3B`, other escapes of reserved characters | kept | 2.2: they differ from the character itself; `%252e` is the text `%2e` |
//! | `;v=1`, `%3Bv` | kept, with a second reading | 3.3 leaves its meaning to the server, and some cut it off: `/admin;v=1` is `/admin` to them |
//! | `%2F`, `%5C` | kept, with a second reading | names such as `@scope%2Fname` need them, and some servers take them for separators: see [`Path::readings`] |
//! | the same, with a dot segment in the second reading | refused | `/public/x%2F..%2F..%2Fadmin` is no name |
//! | `..;x`, `.%3Bx` | refused | servers that drop parameters read a dot segment |
//! | `\` | refused | no URI has it, and some servers read `/` |
//! | `%00` | refused | where a string ends there, the server sees another path |
//! | `%`, `%4`, `%zz` | refused | no escape |
//! | space, control, `#`, `?` | refused | not of a path; a query is cut off before |

#[cfg(test)]
mod tests;

use http::StatusCode;

/// The longest path taken, in bytes as they came. RFC 9110, 4.1 recommends at least 8,000 for a
/// whole URI.
pub const MAX_LENGTH: usize = 8192;

/// What a segment's parameters begin with (RFC 3986, 3.3), as it is and escaped.
const PARAMETERS: [&str; 2] = [";", "%3B"];

/// A path in its normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    normal: String,
    /// Its other readings, where it has escaped separators or parameters; at most three.
    others: Vec<String>,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Over [`MAX_LENGTH`].
    #[error("the path has {0} bytes; at most {MAX_LENGTH} are taken")]
    TooLong(usize),
    /// No `/` in front.
    #[error("the path does not start with `/`")]
    NotAbsolute,
    /// A character that no path has and that is not escaped.
    #[error("byte {at} of the path is {byte:#04x}; it must be percent-encoded")]
    Character {
        /// Where, from 0.
        at: usize,
        /// Which.
        byte: u8,
    },
    /// A `%` without two hexadecimal digits.
    #[error("the `%` at byte {0} of the path is not followed by two hexadecimal digits")]
    Escape(usize),
    /// `%00`.
    #[error("the path has `%00` at byte {0}")]
    Nul(usize),
    /// `\`.
    #[error("the path has a backslash at byte {0}; some servers take it for `/`")]
    Backslash(usize),
    /// A dot segment with a parameter, such as `..;x`.
    #[error("the path has a dot segment with a parameter, such as `..;x`")]
    DotParameter,
    /// A dot segment between escaped separators.
    #[error("the path has a dot segment beside `%2F` or `%5C`")]
    HiddenDotSegment,
}

impl PathError {
    /// What the request is answered: 414 or 400 (RFC 9110, 15.5.15 and 15.5.1).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLong(_) => StatusCode::URI_TOO_LONG,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl Path {
    /// Brings a path, without its query, to its normal form. An empty one is `/` (RFC 9110, 4.2.3),
    /// and `*` is what it is: the whole server, in `OPTIONS` (RFC 9112, 3.2.4).
    ///
    /// # Errors
    /// When it has no normal form that is safe, and is to be answered [`PathError::status`].
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.len() > MAX_LENGTH {
            return Err(PathError::TooLong(raw.len()));
        }
        match raw {
            b"" => return Ok(Self { normal: "/".into(), others: Vec::new() }),
            b"*" => return Ok(Self { normal: "*".into(), others: Vec::new() }),
            [b'/', ..] => {}
            _ => return Err(PathError::NotAbsolute),
        }
        let mut unescaped = String::with_capacity(raw.len());
        unescape(raw, &mut unescaped)?;
        let normal = resolve(&unescaped)?;
        let mut others = Vec::new();
        if normal.contains("%2F") || normal.contains("%5C") {
            let separated = separate(&normal);
            if separated.split('/').any(|segment| matches!(segment, "." | "..")) {
                return Err(PathError::HiddenDotSegment);
            }
            others.push(resolve(&separated).map_err(|_| PathError::HiddenDotSegment)?);
        }
        if PARAMETERS.iter().any(|begin| normal.contains(begin)) {
            let cut: Result<Vec<_>, _> = std::iter::once(&normal)
                .chain(&others)
                .map(|path| resolve(&without_parameters(path)))
                .collect();
            others.extend(cut?);
        }
        Ok(Self { normal, others })
    }

    /// The normal form: what is matched by routes and forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.normal
    }

    /// Every reading that a server may have of it: the normal form; where that holds `%2F` or `%5C`, the
    /// one with `/` in their place; and where it holds parameters, each of these without them.
    ///
    /// An access rule that denies looks at each, one that allows must hold for all of them, so that
    /// neither `/admin%2Fkeys` nor `/admin;x/keys` is something else than the policy's author thought.
    pub fn readings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.normal).chain(&self.others).map(String::as_str)
    }
}

/// A path, or the front of one, that a route or rule names: in the normal form of [`Path`], so that the
/// two can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NormalPath(String);

impl NormalPath {
    /// A whole path.
    ///
    /// # Errors
    /// When no request can have it.
    pub fn whole(value: &str) -> Result<Self, PathError> {
        match value.starts_with('/') {
            true => Path::parse(value.as_bytes()).map(|path| Self(path.normal)),
            false => Err(PathError::NotAbsolute),
        }
    }

    /// The front of a path, without its trailing slash: nothing for `/`.
    ///
    /// # Errors
    /// When no request can have it.
    pub fn front(value: &str) -> Result<Self, PathError> {
        let mut path = Self::whole(value)?;
        if path.0.ends_with('/') {
            path.0.pop();
        }
        Ok(path)
    }

    /// As it is compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.normal)
    }
}

/// Writes `raw` with every octet in its one spelling.
fn unescape(raw: &[u8], into: &mut String) -> Result<(), PathError> {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match byte {
            b'%' => {
                let digits = raw.get(at + 1..at + 3).ok_or(PathError::Escape(at))?;
                let octet = octet(digits).ok_or(PathError::Escape(at))?;
                match octet {
                    0 => return Err(PathError::Nul(at)),
                    octet if is_unreserved(octet) => into.push(char::from(octet)),
                    octet => escape(octet, into),
                }
                at += 3;
                continue;
            }
            b'\\' => return Err(PathError::Backslash(at)),
            0..=b' ' | 0x7f | b'#' | b'?' => return Err(PathError::Character { at, byte }),
            b'/' => into.push('/'),
            byte if is_segment(byte) => into.push(char::from(byte)),
            byte => escape(byte, into),
        }
        at += 1;
    }
    Ok(())
}

/// The octet that two hexadecimal digits stand for.
pub(crate) fn octet(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Writes `%` and two digits.
pub(crate) fn escape(octet: u8, into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    into.push('%');
    into.push(char::from(DIGITS[usize::from(octet >> 4)]));
    into.push(char::from(DIGITS[usize::from(octet & 15)]));
}

/// `unreserved` of RFC 3986, 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986, 3.3, without the escapes.
const fn is_segment(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// Whether a server that cuts parameters off would read a dot segment.
fn dot_parameter(segment: &str) -> bool {
    let rest = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.'));
    rest.is_some_and(|rest| rest.starts_with(';') || rest.starts_with("%3B"))
}

/// Merges slashes, then removes dot segments (RFC 3986, 5.2.4).
fn resolve(path: &str) -> Result<String, PathError> {
    let mut segments: Vec<&str> = Vec::new();
    let mut trailing = false;
    for segment in path.split('/').skip(1) {
        trailing = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment if dot_parameter(segment) => return Err(PathError::DotParameter),
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if trailing || segments.is_empty() {
        normal.push('/');
    }
    Ok(normal)
}

/// With `/` for every escaped separator.
fn separate(normal: &str) -> String {
    normal.replace("%2F", "/").replace("%5C", "/")
}

/// With every segment cut off where its parameters begin.
fn without_parameters(path: &str) -> String {
    let name = |segment: &'_ str| {
        let ends = PARAMETERS.iter().filter_map(|begin| segment.find(begin));
        segment[..ends.min().unwrap_or(segment.len())].to_owned()
    };
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}
