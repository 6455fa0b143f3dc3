//! Reads a spec field by field, so that one bad field does not hide the others.
//!
//! An object is judged on its own (SEMANTICS 5.3): what is invalid in it fails closed, and what is
//! valid holds. So specs are not parsed in one go; each field is [`Absent`](Field::Absent),
//! [`Valid`](Field::Valid) or [`Invalid`](Field::Invalid), and every problem is reported at once.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Something wrong with an object, for its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// One word for programs.
    pub(super) reason: &'static str,
    /// Field, value, and what to do.
    pub(super) message: String,
}

/// Reason of a field whose value is not valid.
pub(super) const INVALID: &str = "Invalid";
/// Reason of a field that does not exist.
pub(super) const UNKNOWN_FIELD: &str = "UnknownField";
/// Reason of a field that is designed and not built yet.
pub(super) const FIELD_NOT_BUILT: &str = "FieldNotBuilt";

impl Problem {
    /// A field with a value that is not valid.
    pub(super) fn invalid(path: &str, what: impl AsRef<str>) -> Self {
        Self { reason: INVALID, message: format!("{path}: {}", what.as_ref()) }
    }

    /// A field that is not built yet, and what that does.
    pub(super) fn not_built(path: &str, effect: &str) -> Self {
        Self { reason: FIELD_NOT_BUILT, message: format!("{path} is not built yet; {effect}") }
    }
}

/// What was found of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field<T> {
    /// It is not there.
    Absent,
    /// It is there and valid.
    Valid(T),
    /// It is there and not valid; the problem is recorded.
    Invalid,
}

impl<T> Field<T> {
    /// The value; nothing where it is absent, `closed` where it is invalid.
    pub(super) fn or_closed(self, closed: T) -> Option<T> {
        match self {
            Self::Absent => None,
            Self::Valid(value) => Some(value),
            Self::Invalid => Some(closed),
        }
    }

    /// The value if it is there and valid.
    pub(super) fn valid(self) -> Option<T> {
        match self {
            Self::Valid(value) => Some(value),
            Self::Absent | Self::Invalid => None,
        }
    }
}

/// The fields of one map.
pub(super) struct Fields<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of the map at `path`. Null is an empty map; anything else is a problem.
    pub(super) fn of(value: &'a Value, path: impl Into<String>, problems: &mut Vec<Problem>) -> Self {
        let path = path.into();
        if !(value.is_object() || value.is_null()) {
            problems.push(Problem::invalid(&path, "must be a map"));
        }
        Self { path, map: value.as_object(), known: Vec::new() }
    }

    /// The path of a field of this map.
    pub(super) fn path(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// The field as it stands; null counts as absent.
    pub(super) fn raw(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.map?.get(field).filter(|value| !value.is_null())
    }

    /// The field, parsed.
    pub(super) fn get<T: DeserializeOwned>(
        &mut self,
        field: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Field<T> {
        let Some(value) = self.raw(field) else { return Field::Absent };
        match parse(value, &self.path(field)) {
            Ok(value) => Field::Valid(value),
            Err(problem) => {
                problems.push(problem);
                Field::Invalid
            }
        }
    }

    /// Reports every field that was not asked for. Tells whether there was one.
    pub(super) fn finish(self, problems: &mut Vec<Problem>) -> bool {
        let before = problems.len();
        for field in self.map.into_iter().flat_map(Map::keys) {
            if !self.known.contains(&field.as_str()) {
                let message =
                    format!("{}: unknown field; valid are {}", self.path(field), self.known.join(", "));
                problems.push(Problem { reason: UNKNOWN_FIELD, message });
            }
        }
        problems.len() > before
    }
}

/// Parses a value found at `path`; the problem names the path down to the field.
pub(super) fn parse<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let message = error.inner().to_string();
        let unknown = message.starts_with("unknown field");
        let path = match inner.as_str() {
            "." => path.to_owned(),
            _ if inner.starts_with('[') => format!("{path}{inner}"),
            _ => format!("{path}.{inner}"),
        };
        Problem {
            reason: if unknown { UNKNOWN_FIELD } else { INVALID },
            message: format!("{path}: {message}"),
        }
    })
}
