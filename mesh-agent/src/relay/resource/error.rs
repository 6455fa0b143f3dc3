//! Why a resource was not taken.

use super::Kind;

/// A resource that does not parse; relay keeps the last good one and tells the controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {resource}: {field} is {value}: {problem}", kind.name())]
pub(crate) struct Invalid {
    /// Its type.
    pub kind: Kind,
    /// Its name on the stream.
    pub resource: String,
    /// The field at fault, as a path.
    pub field: String,
    /// What it holds.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A fault below one resource, before its name is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    field: String,
    value: String,
    problem: &'static str,
}

impl Fault {
    /// A fault of one field.
    pub(super) fn new(field: impl Into<String>, value: impl ToString, problem: &'static str) -> Self {
        Self { field: field.into(), value: value.to_string(), problem }
    }

    /// The same fault, seen from the message that holds the field.
    pub(super) fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }

    /// The same fault, as the resource's.
    pub(super) fn of(self, kind: Kind, resource: &str) -> Invalid {
        Invalid {
            kind,
            resource: resource.to_owned(),
            field: self.field,
            value: self.value,
            problem: self.problem,
        }
    }
}
