//! Writing what a kubelet would report into the run directory, where the controller reads it.

use std::{fs, io, path::Path};

use serde::Serialize;

/// Replaces the file at once: a reader sees the old content or the new.
pub(crate) fn write(path: &Path, object: &impl Serialize) -> io::Result<()> {
    let text = serde_yaml_ng::to_string(object).map_err(io::Error::other)?;
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.tmp"));
    fs::write(&fresh, text)?;
    fs::rename(&fresh, path)
}

/// Removes the file; that it is gone already is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
