//! The run directory, which wire and relay share although they are different users.
//!
//! Both put files into it, and neither may take away the other's: it is wire's, relay's group may
//! write, and the sticky bit keeps what is in it to its owner. Where the directory was made for
//! them (in Kubernetes a hostPath is root's and 0755, an emptyDir 0777) wire makes it so before relay
//! can use it. One of another user is refused: its owner could put a link where wire's sockets are made.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Uid;

/// Sticky, all for wire and for relay's group, nothing for others.
const MODE: u32 = 0o1770;

/// The run directory cannot be shared.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunDirError {
    /// The kernel refused.
    #[error("{what} {path}, of the run directory: {source}{}", hint(source))]
    Io {
        /// What was being done.
        what: &'static str,
        /// The directory, or what is in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else's.
    #[error(
        "run directory {path} belongs to user {owner}, wire is user {own}: its owner could put a link where wire \
         makes its sockets; give it to wire (chown {own} {path}), which opens it to relay's group itself"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        own: u32,
    },
    /// A link to some directory.
    #[error(
        "run directory {path} is a symbolic link: name the directory that it leads to, or remove the link"
    )]
    Link {
        /// The link.
        path: PathBuf,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError + use<> {
    let path = path.to_owned();
    move |source| RunDirError::Io { what, path, source }
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

/// Lets relay's user put files into the directory, and nobody take away wire's.
///
/// # Errors
/// When it is not there, not wire's own, or wire may not change it.
pub(super) fn share(path: &Path, relay_uid: u32, relay_gid: u32) -> Result<(), RunDirError> {
    let fail = |what| failed(what, path);
    let directory = open(path)?;
    let found = directory.metadata().map_err(fail("looking at"))?;
    let found = Access { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 };
    let own = Uid::effective().as_raw();
    if found.uid != own {
        return Err(RunDirError::Foreign { path: path.to_owned(), owner: found.uid, own });
    }
    if is_safe(found) && is_open(found, relay_uid, relay_gid) {
        return Ok(());
    }
    fchown(&directory, None, Some(relay_gid)).map_err(fail("giving to relay's group"))?;
    // After the group: a directory of another group would be open to that one for a moment.
    directory.set_permissions(fs::Permissions::from_mode(MODE)).map_err(fail("setting the mode of"))?;
    tracing::info!(run_dir = %path.display(), relay_gid, "the run directory is open to relay");
    Ok(())
}

/// The directory itself: what is looked at is what is changed, whatever its name leads to meanwhile.
fn open(path: &Path) -> Result<File, RunDirError> {
    // Without a slash or dot at its end: either would have the kernel follow a link there.
    let path = path.components().collect::<PathBuf>();
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path);
    let is_link = || path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    match opened {
        Err(_) if is_link() => Err(RunDirError::Link { path }),
        opened => opened.map_err(failed("opening", &path)),
    }
}

/// Whether nobody but its owner can remove or rename what another has put into it.
fn is_safe(found: Access) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    found.mode & OTHERS_WRITE == 0 || found.mode & STICKY != 0
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

/// Removes what agents left in the directory, and nothing else. They make no directories: one under such a name is
/// somebody else's, and stays.
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
        if !is_an_agents(&entry.file_name().to_string_lossy()) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                tracing::warn!(path = %entry.path().display(), "a directory, which no agent makes, is left there");
            }
            removed => removed.map_err(failed("removing", &entry.path()))?,
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
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::{Access, empty, is_open, is_safe, share};

    #[test]
    fn only_what_agents_made_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["wire.sock.new", "node.pem", "access.log.1", "snapshot", "snapshots", "else"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        std::fs::create_dir(directory.path().join("takeover.sock.new")).unwrap();
        empty(directory.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["else", "snapshots", "takeover.sock.new"]);
        assert!(empty(&directory.path().join("none")).is_ok());
    }

    #[test]
    fn a_directory_that_relay_can_use_and_others_cannot_is_left_alone() {
        let made = |uid, gid, mode| {
            let found = Access { uid, gid, mode };
            is_safe(found) && is_open(found, 65532, 65532)
        };
        assert!(made(65532, 65532, 0o750), "wire and relay are one user");
        assert!(made(0, 65532, 0o1770), "as wire leaves it");
        assert!(made(0, 0, 0o1777));
        assert!(!made(0, 0, 0o755), "as kubelet makes a hostPath");
        assert!(!made(0, 0, 0o777), "as kubelet makes an emptyDir");
        assert!(!made(0, 65532, 0o770), "relay could take wire's sockets away");
        assert!(!made(0, 65532, 0o750));
        assert!(!made(65532, 65532, 0o077), "the owner's bits count, not the others'");
        assert!(is_open(Access { uid: 7, gid: 7, mode: 0 }, 0, 0), "root needs none");
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_shared_once() {
        let directory = tempfile::tempdir().unwrap();
        share(directory.path(), 65532, 65532).expect("this test needs root: it gives a directory away");
        assert_eq!(mode(directory.path()), 0o1770);
        share(directory.path(), 65532, 65532).unwrap();
        assert_eq!(mode(directory.path()), 0o1770);
        // Open to everybody without the sticky bit, as an emptyDir is.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        share(directory.path(), 65532, 65532).unwrap();
        assert_eq!(mode(directory.path()), 0o1770);
        assert!(share(&directory.path().join("none"), 65532, 65532).is_err());
    }

    #[test]
    fn a_link_and_a_directory_of_another_user_are_refused_and_left_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("etc"), directory.path().join("run"));
        std::fs::create_dir(&target).unwrap();
        std::fs::set_permissions(&target, Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for end in ["", "/", "//", "/."] {
            let link = format!("{}{end}", link.display());
            let refused = share(Path::new(&link), 65532, 65532).unwrap_err().to_string();
            assert!(refused.contains("is a symbolic link"), "{link}: {refused}");
        }
        assert_eq!((mode(&target), target.metadata().unwrap().gid()), (0o755, 0));

        std::os::unix::fs::chown(&target, Some(65532), None).expect("this test needs root");
        let refused = share(&target, 65532, 65532).unwrap_err().to_string();
        assert!(refused.contains("belongs to user 65532") && refused.contains("chown 0"), "{refused}");
        assert_eq!(mode(&target), 0o755);
    }
}
