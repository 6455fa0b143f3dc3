//! The access log of a node, from a point in time on.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;

use super::{Error, bed::wait_for};

/// How long a line may take to be in the file: the kernel's events are batched, and the file's writes too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place in the log; what comes after it can be looked for.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    path: PathBuf,
    offset: u64,
}

/// A line of the log.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// As it stands in the file.
    pub(super) text: String,
    fields: Value,
}

impl Line {
    /// A text field by its JSON pointer; empty if it is not there.
    pub(super) fn field(&self, pointer: &str) -> &str {
        self.fields.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Mark {
    /// The end of the log as it is now.
    pub(super) fn now(path: PathBuf) -> Self {
        let offset = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, offset }
    }

    /// Waits for a line after this mark that `wanted` takes.
    pub(super) fn wait(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Result<Line, Error> {
        wait_for(&format!("a line in the access log about {what}"), PATIENCE, || {
            let lines = self.lines().map_err(|error| error.to_string())?;
            let last = lines.last().map_or("no line", |line| line.text.as_str()).to_owned();
            lines.into_iter().find(&wanted).ok_or(last)
        })
    }

    fn lines(&self) -> std::io::Result<Vec<Line>> {
        let mut text = String::new();
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        file.read_to_string(&mut text)?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = |text: &str| {
            // What a container says stands behind time and stream in the kubelet's files.
            let text = &text[text.find('{')?..];
            Some(Line { text: text.to_owned(), fields: serde_json::from_str(text).ok()? })
        };
        Ok(whole.lines().filter_map(line).collect())
    }
}
