//! A Unix socket for relay and nobody else: made 0600 and relay's before it can be found, and the
//! user of whoever connects checked again by its credentials. What else relay puts there under these names, where it
//! may write, is not in the way.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Uid;

/// Why the socket is not there.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}")]
pub(super) struct EndpointError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Puts the socket that `listen` makes at `path`, in place of whatever an earlier wire left there.
///
/// # Errors
/// When the socket cannot be made or given to relay's user.
pub(super) fn place<T>(
    path: &Path,
    relay_uid: u32,
    listen: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, EndpointError> {
    let fail = |what| {
        let path = path.to_owned();
        move |source| EndpointError { what, path, source }
    };
    // Made under another name, so that nobody connects before it is closed to others; one that nobody can have taken.
    let fresh = beside(path, "new");
    let placed = (|| {
        let listener = listen(&fresh).map_err(fail("listening on"))?;
        let made = made(&fresh).map_err(fail("looking at"))?;
        // The inode, whatever its name leads to by now: a link there would make these of some other file.
        let inode = PathBuf::from(format!("/proc/self/fd/{}", made.as_raw_fd()));
        fs::set_permissions(&inode, fs::Permissions::from_mode(0o600))
            .map_err(fail("setting the mode of"))?;
        chown(&inode, Some(relay_uid), None).map_err(fail("giving to relay's user"))?;
        replace(&fresh, path).map_err(fail("putting in place"))?;
        Ok(listener)
    })();
    if placed.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    placed
}

/// A name next to `path` that nobody else can foresee; short, as sockets' paths must be.
fn beside(path: &Path, what: &str) -> PathBuf {
    let random = RandomState::new().build_hasher().finish();
    path.with_added_extension(format!("{what}{:08x}", random >> 32))
}

/// Gives what is at `fresh` the name `path`. A directory of that name would stay in its place: it is moved aside,
/// whatever is in it, and removed if that is nothing; wire may not look into every one of relay's.
fn replace(fresh: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(fresh, path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            let aside = beside(path, "aside");
            tracing::warn!(path = %path.display(), aside = %aside.display(), "a directory is moved aside");
            fs::rename(path, &aside)?;
            let _ = fs::remove_dir(&aside);
            fs::rename(fresh, path)
        }
        renamed => renamed,
    }
}

/// The socket that this process has made.
fn made(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let found = opened.metadata()?;
    let ours = found.uid() == Uid::effective().as_raw() && found.nlink() == 1;
    if found.file_type().is_socket() && ours {
        return Ok(opened);
    }
    Err(io::Error::other(
        "somebody has put something else in its place; see who may write to this directory, and that it is wire's own",
    ))
}

/// Sees that whoever is at the other end is of this process's own user.
///
/// # Errors
/// When it is another's.
pub(super) fn is_own(peer: &impl AsFd) -> io::Result<()> {
    let (uid, own) = (getsockopt(peer, PeerCredentials)?.uid(), Uid::effective().as_raw());
    if uid == own { Ok(()) } else { Err(io::Error::other(format!("its user is {uid}, wire's is {own}"))) }
}

/// Lets relay in, and nobody else; gives its process.
///
/// # Errors
/// When the peer is of another user.
pub(super) fn admit(peer: &impl AsFd, relay_uid: u32) -> io::Result<u32> {
    let peer = getsockopt(peer, PeerCredentials)?;
    let uid = peer.uid();
    if uid != relay_uid {
        return Err(io::Error::other(format!(
            "its user is {uid}, relay's is {relay_uid}; start wire with --relay-uid {uid} if that is relay"
        )));
    }
    Ok(peer.pid().cast_unsigned())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::place;

    const RELAY: u32 = 65532;

    #[test]
    fn a_socket_is_relays_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wire.sock");
        // What an earlier wire left.
        fs::write(&path, "").unwrap();
        let _listener = place(&path, RELAY, |path| UnixListener::bind(path)).expect("this test needs root");
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (RELAY, 0o600));
        assert_eq!(names(directory.path()), ["wire.sock"]);
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn directories_of_these_names_are_not_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("takeover.sock");
        fs::create_dir(&path).unwrap();
        fs::create_dir(directory.path().join("takeover.sock.new")).unwrap();
        let put = || place(&path, RELAY, |path| UnixListener::bind(path)).expect("this test needs root");
        let _first = put();
        assert_eq!(
            names(directory.path()),
            ["takeover.sock", "takeover.sock.new"],
            "an empty one is removed"
        );
        // One that is full, as whoever owns the socket can make it.
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("full")).unwrap();
        let _second = put();
        let found = path.symlink_metadata().unwrap();
        assert!(found.file_type().is_socket() && found.uid() == RELAY);
        assert!(names(directory.path())[1].starts_with("takeover.sock.aside"));
    }

    #[test]
    fn what_is_put_in_its_place_keeps_its_owner_and_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wire.sock");
        let secret = directory.path().join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
        let other = directory.path().join("other.sock");
        let _other = UnixListener::bind(&other).unwrap();
        for hard in [false, true] {
            let refused = place(&path, RELAY, |fresh| {
                let listener = UnixListener::bind(fresh)?;
                // As whoever may write to the directory could, just then.
                fs::remove_file(fresh)?;
                if hard { fs::hard_link(&other, fresh) } else { symlink(&secret, fresh) }?;
                Ok(listener)
            });
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("wire.sock") && refused.contains("in its place"), "{refused}");
        }
        for kept in [&secret, &other] {
            assert_eq!(kept.metadata().unwrap().uid(), 0, "{}", kept.display());
        }
        assert_eq!(secret.metadata().unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(directory.path()), ["other.sock", "secret"], "nothing of it is left");
    }
}
