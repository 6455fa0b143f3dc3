//! A Unix socket for relay and nobody else: made 0600 and relay's before it can be found, and the
//! user of whoever connects checked again by its credentials.

use std::fs::{self, File, OpenOptions};
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
    // Made under another name, so that nobody connects before it is closed to others.
    let fresh = path.with_extension("sock.new");
    let _ = fs::remove_file(&fresh);
    let listener = listen(&fresh).map_err(fail("listening on"))?;
    let made = made(&fresh).map_err(fail("looking at"))?;
    // The inode, whatever its name leads to by now: a link there would make these of some other file.
    let inode = PathBuf::from(format!("/proc/self/fd/{}", made.as_raw_fd()));
    fs::set_permissions(&inode, fs::Permissions::from_mode(0o600)).map_err(fail("setting the mode of"))?;
    chown(&inode, Some(relay_uid), None).map_err(fail("giving to relay's user"))?;
    fs::rename(&fresh, path).map_err(fail("putting in place"))?;
    Ok(listener)
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::place;

    const RELAY: u32 = 65532;

    #[test]
    fn a_socket_is_relays_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wire.sock");
        // What an earlier wire left, and one that was killed in the middle.
        fs::write(&path, "").unwrap();
        fs::write(path.with_extension("sock.new"), "").unwrap();
        let _listener = place(&path, RELAY, |path| UnixListener::bind(path)).expect("this test needs root");
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (RELAY, 0o600));
        assert!(!path.with_extension("sock.new").exists());
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
        assert!(!path.exists());
    }
}
