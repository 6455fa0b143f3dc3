//! `RequestHeaderModifier` and `ResponseHeaderModifier` (`HTTPHeaderFilter` of Gateway API).

use std::collections::HashSet;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::head::hop;

/// Why a modifier is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModifierError {
    /// Two actions for one name.
    #[error("`{0}` has several actions; a name takes one of set, add and remove, once")]
    Repeated(HeaderName),
    /// A field that frames or routes the message.
    #[error("`{0}` belongs to the connection and cannot be modified")]
    Connection(HeaderName),
    /// `Host`.
    #[error("`host` cannot be modified; use the hostname of a URLRewrite filter")]
    Host,
}

/// Sets, adds and removes header fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderModifier {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// Such as `set x-a: 1, add x-b: 2, remove x-c`.
impl fmt::Display for HeaderModifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |action: &str, (name, value): &(HeaderName, HeaderValue)| {
            format!("{action} {name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        let set = self.set.iter().map(|one| field("set", one));
        let add = self.add.iter().map(|one| field("add", one));
        let actions = set.chain(add).chain(self.remove.iter().map(|name| format!("remove {name}")));
        f.write_str(&actions.collect::<Vec<_>>().join(", "))
    }
}

impl HeaderModifier {
    /// Puts the actions together.
    ///
    /// # Errors
    /// When a name has several actions, or is not the route's to change: fields that say where a
    /// message ends or what becomes of its connection (RFC 9110, 7.6.1; RFC 9112, 6), and `Host`.
    pub fn new(
        set: Vec<(HeaderName, HeaderValue)>,
        add: Vec<(HeaderName, HeaderValue)>,
        remove: Vec<HeaderName>,
    ) -> Result<Self, ModifierError> {
        let mut known = HashSet::new();
        for name in set.iter().chain(&add).map(|(name, _)| name).chain(&remove) {
            if *name == http::header::HOST {
                return Err(ModifierError::Host);
            }
            if *name == http::header::CONTENT_LENGTH || hop::is_hop_by_hop(name) {
                return Err(ModifierError::Connection(name.clone()));
            }
            if !known.insert(name) {
                return Err(ModifierError::Repeated(name.clone()));
            }
        }
        Ok(Self { set, add, remove })
    }

    /// Applies it. What is added to a field that is there already is a further line of it, which is
    /// the same as a further member of its list (RFC 9110, 5.3) and also right for `set-cookie`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}
