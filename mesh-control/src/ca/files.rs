//! Files that only their owner may read, written whole or not at all.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

/// Why a file of the authority cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}; see that the directory belongs to the controller's user and has room", path.display())]
pub struct FileError {
    path: PathBuf,
    action: &'static str,
    #[source]
    cause: io::Error,
}

impl FileError {
    /// An error of doing something to a path.
    pub(super) fn new(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self { path, action, cause }
    }
}

/// Makes a directory, and those above it, with these permissions. One that is there stays as it
/// is: it may be somebody's who knows why.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |action| FileError::new(path, action);
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed("make"))?;
    // Whatever the umask took away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set permissions of"))
}

/// Writes a file that only its owner may read: this user, or the one with `uid`. Whoever opens
/// the path finds what was there before or all of what is there now, also after a crash.
pub(super) fn write(path: &Path, content: &[u8], uid: Option<u32>) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let made = PathBuf::from(name);
    // What a crash left behind may have another owner.
    let _ = fs::remove_file(&made);
    let failed = |action| FileError::new(path, action);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&made)
        .map_err(FileError::new(&made, "create"))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    if uid.is_some() {
        chown(&made, uid, None).map_err(failed("give to the agent's user"))?;
    }
    fs::rename(&made, path).and_then(|()| settle(path)).map_err(failed("move to its place"))
}

/// Makes the names in a file's directory outlive a loss of power.
pub(super) fn settle(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// A file's text; nothing where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new(path, "read")(error)),
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new(path, "remove")(error)),
        _ => Ok(()),
    }
}
