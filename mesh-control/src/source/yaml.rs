//! From the text of a file to its documents.

use serde_json::Value;
use serde_yaml_ng::Value as Yaml;

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("document {index} (line {line}): {cause}")]
pub(super) struct DocumentError {
    /// Its place in the file, from 1.
    pub(super) index: usize,
    /// The line of the file on which the document starts, from 1.
    pub(super) line: usize,
    /// What the parser says; its own line numbers count from the start of the document.
    pub(super) cause: String,
}

/// The documents of a file. They are cut apart before they are parsed, so that one that cannot
/// be read does not take the others with it. Empty documents are left out.
pub(super) fn documents(text: &str) -> Vec<Result<Value, DocumentError>> {
    let mut documents = Vec::new();
    for (index, (line, document)) in split(text).into_iter().enumerate() {
        match parse(&document) {
            Ok(Value::Null) => {}
            Ok(value) => documents.push(Ok(value)),
            Err(cause) => documents.push(Err(DocumentError { index: index + 1, line, cause })),
        }
    }
    documents
}

/// The documents, each with the line of the text on which its first line stands, from 1. Cuts at `---` and `...` in the first column (YAML 1.2 section 9.1); nothing else may begin a
/// line with them outside a document's end, not even within a block scalar.
pub(super) fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        let marker = ["---", "..."].into_iter().find_map(|marker| {
            line.strip_prefix(marker).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        });
        match (marker, documents.last_mut()) {
            (Some(rest), _) => documents.push((number + 1, rest.to_owned() + "\n")),
            (None, Some((_, document))) => {
                document.push_str(line);
                document.push('\n');
            }
            (None, None) => {}
        }
    }
    documents
}

/// The value of one document; null where it has none.
pub(super) fn parse(document: &str) -> Result<Value, String> {
    if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    // By way of YAML's own value, which refuses a key that is there twice.
    let mut yaml: Yaml = serde_yaml_ng::from_str(document).map_err(|error| error.to_string())?;
    yaml.apply_merge().map_err(|error| error.to_string())?;
    serde_json::to_value(yaml).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn one_bad_document_leaves_the_others() {
        let read = documents("a: 1\n---\nb: [\n---\n# nothing\n---\nc: 3\n");
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].as_ref().unwrap()["a"], 1);
        let error = read[1].as_ref().unwrap_err();
        assert_eq!((error.index, error.line), (2, 2));
        assert_eq!(read[2].as_ref().unwrap()["c"], 3);
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        assert!(documents("a: 1\na: 2\n")[0].is_err());
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let read = documents("x: &x {a: 1}\ny: {<<: *x, b: 2}\n");
        assert_eq!(read[0].as_ref().unwrap()["y"], serde_json::json!({"a": 1, "b": 2}));
    }
}
