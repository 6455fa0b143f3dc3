//! The texts: files, directories and standard input.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::Input;
use crate::source::{
    SourceError,
    given::{self, Given},
};

/// A file beyond this size holds no manifests.
const SIZE_LIMIT: u64 = 16 << 20;

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file, or standard input.
    #[error("cannot read {}: {cause}; give files, directories, or - for standard input", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file below a directory.
    #[error("cannot read {}: {why}", path.display())]
    Below {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A directory.
    #[error(transparent)]
    Directory(#[from] SourceError),
    /// Nothing is there.
    #[error("{} has no file *.yaml, *.yml or *.json; give another directory, or the file itself", path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
}

/// Reads files, directories, and for `-` standard input. Of a directory the files are read as the controller reads them:
/// `*.yaml`, `*.yml` and `*.json`, also further below, and no dot files.
///
/// # Errors
/// When something that was asked for cannot be read, or a directory has no manifest.
pub fn read(paths: &[PathBuf]) -> Result<Input, InputError> {
    let mut given = Vec::new();
    for path in paths {
        if path.is_dir() {
            let texts = given::directory(path)?;
            if texts.is_empty() {
                return Err(InputError::Empty { path: path.clone() });
            }
            for (below, text) in texts {
                let path = path.join(below);
                let text = text.map_err(|why| InputError::Below { path: path.clone(), why })?;
                given.push(Given { name: path.display().to_string(), text });
            }
        } else {
            let text = text(path).map_err(|cause| InputError::Read { path: path.clone(), cause })?;
            given.push(Given { name: path.display().to_string(), text });
        }
    }
    Ok(Input(given))
}

fn text(path: &Path) -> io::Result<String> {
    let source: Box<dyn io::Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(fs::File::open(path)?) };
    let mut text = String::new();
    if source.take(SIZE_LIMIT + 1).read_to_string(&mut text)? as u64 > SIZE_LIMIT {
        return Err(io::Error::other(format!("it has more than {SIZE_LIMIT} bytes; split it")));
    }
    Ok(text)
}
