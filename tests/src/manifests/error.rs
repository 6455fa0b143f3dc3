//! What can be wrong with the directory, told by file, object, field and value.

use std::path::PathBuf;

/// Something in the directory that cannot be acted on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not YAML.
    #[error("{file}: document {document} is not valid YAML: {source}")]
    Yaml {
        /// The file's name.
        file: String,
        /// Counted from 1.
        document: usize,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
    /// Neither a kind that the testbed plays, nor one that others read.
    #[error(
        "{file}: document {document} has kind {kind:?} of apiVersion {api_version:?}, which the testbed does not know"
    )]
    UnknownKind {
        /// The file's name.
        file: String,
        /// Counted from 1.
        document: usize,
        /// `kind`, or empty.
        kind: String,
        /// `apiVersion`, or empty.
        api_version: String,
    },
    /// The object is not one of its kind.
    #[error("{file}: {kind} {name:?} is not valid: {source}")]
    Object {
        /// The file's name.
        file: String,
        /// Its kind.
        kind: String,
        /// Its name, as far as there is one.
        name: String,
        /// Which field and why.
        source: serde_yaml_ng::Error,
    },
    /// A field has a value that cannot be used, or is missing.
    #[error("{kind} {name}: {field} {problem}")]
    Field {
        /// The object's kind.
        kind: &'static str,
        /// The object's name.
        name: String,
        /// Path of the field.
        field: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Two objects with one name.
    #[error("{kind} {name} is defined twice, the second time in {file}: rename or remove one")]
    Duplicate {
        /// Their kind.
        kind: String,
        /// Their name.
        name: String,
        /// The second's file.
        file: String,
    },
}
