//! What a program was built from, as one word beside it: whether it has to be built again is known without the tool that
//! builds it.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use anyhow::{Context as _, Result};

/// Changes whenever one of these files of a folder does, or how they are built.
pub(crate) fn of(folder: &Path, files: &[&str], how: &str) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    how.hash(&mut hasher);
    for file in files {
        let path = folder.join(file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// Whether this is the word in a file.
pub(crate) fn is_in(path: &Path, fingerprint: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == fingerprint)
}
