//! Texts that somebody gives once, as a directory's files are read, and where in them every object stands.

use std::path::Path;

use serde_json::Value;

use super::{
    SourceError,
    decode::{Decoded, decode},
    directory::{self, Texts},
    merge, yaml,
};
use crate::objects::{Conditions, ObjectName, ObjectRef, Objects};

/// A text that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// What it is called by: its path.
    pub(crate) name: String,
    /// What it says.
    pub(crate) text: String,
}

/// A document of such a text.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// The text's name.
    pub(crate) file: String,
    /// The line of the text on which its own first line stands, from 1.
    pub(crate) line: usize,
    /// Its own lines.
    pub(crate) text: String,
    /// What it says.
    pub(crate) value: Value,
    decoded: Vec<Decoded>,
}

impl Document {
    /// The objects that it is about.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.decoded.iter().map(Decoded::reference)
    }
}

/// A document that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unparsable {
    /// The text's name.
    pub(crate) file: String,
    /// The line of the text on which it begins, from 1.
    pub(crate) line: usize,
    /// How many lines it has, at least 1.
    pub(crate) lines: usize,
    /// What the parser says; its own line numbers count from there.
    pub(crate) cause: String,
}

/// The documents of texts; those that stand for others are written out by `more`, such as the pod of a Deployment.
pub(crate) fn documents(
    given: &[Given],
    more: impl Fn(&Value) -> Option<Value>,
) -> (Vec<Document>, Vec<Unparsable>) {
    let (mut documents, mut unparsable) = (Vec::new(), Vec::new());
    for Given { name, text } in given {
        let file = file(name);
        for (line, text) in yaml::split(text) {
            match yaml::parse(&text) {
                Ok(Value::Null) => {}
                Ok(value) => {
                    let mut decoded = decode(value.clone(), &file);
                    decoded.extend(more(&value).into_iter().flat_map(|value| decode(value, &file)));
                    documents.push(Document { file: name.clone(), line, text, value, decoded });
                }
                Err(cause) => {
                    let lines = text.lines().count().max(1);
                    unparsable.push(Unparsable { file: name.clone(), line, lines, cause });
                }
            }
        }
    }
    (documents, unparsable)
}

/// The objects of documents, and what could not be taken.
pub(crate) fn objects(documents: &[Document]) -> (Objects, Conditions) {
    let decoded = documents
        .iter()
        .flat_map(|document| document.decoded.iter().map(|decoded| (document.file.as_str(), decoded)));
    merge::merge(decoded, &Objects::default())
}

/// What a status about a file, and not an object, is about.
fn file(name: &str) -> ObjectRef {
    ObjectRef { api_version: String::new(), kind: "File".to_owned(), name: ObjectName::cluster(name) }
}

/// The manifests of a directory, by path below it, found as the controller finds them.
pub(crate) fn directory(root: &Path) -> Result<Texts, SourceError> {
    directory::texts(root)
}
