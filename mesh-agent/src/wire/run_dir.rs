//! The run directory, which wire and relay share although they are different users.
//!
//! Both put files into it, and neither may take away the other's: it is wire's, relay's group may
//! write, and the sticky bit keeps what is in it to its owner. Where the directory was made for
//! them (a hostPath in Kubernetes is root's and 0755) wire makes it so before relay can use it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Sticky, all for wire and for relay's group, nothing for others.
const MODE: u32 = 0o1770;

/// The run directory cannot be shared.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}, of the run directory: {source}{}", hint(source))]
pub(super) struct RunDirError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError + use<> {
    let path = path.to_owned();
    move |source| RunDirError { what, path, source }
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                " (wire needs CAP_CHOWN at start; or make the directory root's, relay's group's and {MODE:o})"
            )
        }
        _ => String::new(),
    }
}

/// Who owns a directory and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Lets relay's user put files into the directory.
///
/// # Errors
/// When it is not there, or wire may not change it.
pub(super) fn share(path: &Path, relay_uid: u32, relay_gid: u32) -> Result<(), RunDirError> {
    let fail = |what| failed(what, path);
    let found = fs::metadata(path).map_err(fail("looking at"))?;
    let found = Access { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 };
    if is_open(found, relay_uid, relay_gid) {
        return Ok(());
    }
    chown(path, None, Some(relay_gid)).map_err(fail("giving to relay's group"))?;
    // After the group: a directory of another group would be open to that one for a moment.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(fail("setting the mode of"))?;
    tracing::info!(run_dir = %path.display(), relay_gid, "the run directory is open to relay");
    Ok(())
}

/// Whether a user and its group may already write, search and list it.
fn is_open(found: Access, uid: u32, gid: u32) -> bool {
    const ALL: u32 = 7;
    let bits = match found {
        _ if uid == 0 => return true,
        Access { uid: owner, .. } if owner == uid => found.mode >> 6,
        Access { gid: group, .. } if group == gid => found.mode >> 3,
        _ => found.mode,
    };
    bits & ALL == ALL
}

/// What the agent puts there, but for what is added to these names while a file is replaced or kept.
const FILES: [&str; 7] =
    ["wire.sock", "sockets.sock", "takeover.sock", "admin.sock", "access.log", "snapshot", "node.pem"];

/// Removes what agents left in the directory, and nothing else.
///
/// # Errors
/// When something of theirs cannot be removed.
pub(super) fn empty(path: &Path) -> Result<(), RunDirError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("listing", path))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("listing", path))?;
        if is_an_agents(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(failed("removing", &entry.path()))?;
        }
    }
    Ok(())
}

fn is_an_agents(name: &str) -> bool {
    FILES
        .iter()
        .any(|file| name.strip_prefix(file).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::{Access, empty, is_open, share};

    #[test]
    fn only_what_agents_made_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["wire.sock.new", "node.pem", "access.log.1", "snapshot", "snapshots", "else"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        empty(directory.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["else", "snapshots"]);
        assert!(empty(&directory.path().join("none")).is_ok());
    }

    #[test]
    fn a_directory_that_relay_can_use_is_left_alone() {
        let made = |uid, gid, mode| is_open(Access { uid, gid, mode }, 65532, 65532);
        assert!(made(65532, 65532, 0o750), "relay's own");
        assert!(made(0, 65532, 0o1770), "as wire leaves it");
        assert!(made(0, 0, 0o1777));
        assert!(!made(0, 0, 0o755), "as kubelet makes a hostPath");
        assert!(!made(0, 65532, 0o750));
        assert!(!made(65532, 65532, 0o077), "the owner's bits count, not the others'");
        assert!(is_open(Access { uid: 7, gid: 7, mode: 0 }, 0, 0), "root needs none");
    }

    #[test]
    fn it_is_shared_once() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let mode = || directory.path().metadata().unwrap().permissions().mode() & 0o7777;
        share(directory.path(), 65532, 65532).expect("this test needs root: it gives a directory away");
        assert_eq!(mode(), 0o1770);
        share(directory.path(), 65532, 65532).unwrap();
        assert_eq!(mode(), 0o1770);
        assert!(share(&directory.path().join("none"), 65532, 65532).is_err());
    }
}
