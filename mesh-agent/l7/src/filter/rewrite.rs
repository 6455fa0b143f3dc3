//! `URLRewrite`, and the path modifiers that it shares with redirects (`HTTPPathModifier` of Gateway
//! API).

use crate::host::Host;
use crate::path::{NormalPath, PathError};

use super::NoPrefix;

/// Changes the host and path of a request that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// The host, if another.
    pub hostname: Option<Hostname>,
    /// The path, if another.
    pub path: Option<PathModifier>,
}

/// What a path becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathModifier {
    /// This one.
    Full(NormalPath),
    /// The same with this in place of the prefix that matched.
    Prefix(NormalPath),
}

/// Why a text is no replacement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModifierError {
    /// Not a path.
    #[error("{value:?} is no path: {error}")]
    Path {
        /// The text.
        value: String,
        /// Why.
        error: PathError,
    },
    /// Not a host.
    #[error("{0:?} is no hostname: a DNS name without a port")]
    Hostname(String),
}

impl PathModifier {
    /// `ReplaceFullPath`. The value is brought to the normal form that requests are in.
    ///
    /// # Errors
    /// When it is no path.
    pub fn full(value: &str) -> Result<Self, ModifierError> {
        named(value, NormalPath::whole).map(Self::Full)
    }

    /// `ReplacePrefixMatch`. An empty value takes the prefix away.
    ///
    /// # Errors
    /// When it is no path.
    pub fn prefix(value: &str) -> Result<Self, ModifierError> {
        named(value, NormalPath::front).map(Self::Prefix)
    }

    /// What `path` becomes, of which `prefix` matched. Both are in normal form, and so is the result.
    ///
    /// # Errors
    /// When it replaces a prefix, and none matched.
    pub fn apply(&self, path: &str, prefix: Option<&str>) -> Result<String, NoPrefix> {
        let replacement = match self {
            Self::Full(value) => return Ok(value.as_str().to_owned()),
            Self::Prefix(value) => value.as_str(),
        };
        let rest = path.strip_prefix(prefix.ok_or(NoPrefix)?).ok_or(NoPrefix)?;
        Ok(match (replacement, rest) {
            ("", "") => "/".to_owned(),
            // `OPTIONS *`, which the default match has too.
            (_, "*") => path.to_owned(),
            (replacement, rest) => [replacement, rest].concat(),
        })
    }
}

fn named(
    value: &str,
    read: impl Fn(&str) -> Result<NormalPath, PathError>,
) -> Result<NormalPath, ModifierError> {
    // Gateway API lets replacements begin without a slash.
    let rooted = if value.starts_with('/') { value.to_owned() } else { format!("/{value}") };
    read(&rooted).map_err(|error| ModifierError::Path { value: value.into(), error })
}

/// A `PreciseHostname` of Gateway API: a DNS name, lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(value: &str) -> Result<Self, ModifierError> {
        match Host::parse(value) {
            Ok(host) if host.port().is_none() && !host.name().starts_with('[') => {
                Ok(Self(host.name().to_owned()))
            }
            _ => Err(ModifierError::Hostname(value.into())),
        }
    }

    /// As it is written in `Host`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
