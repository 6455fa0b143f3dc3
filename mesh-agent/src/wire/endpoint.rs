//! A Unix socket for relay and nobody else: made 0600 and relay's before it can be found, and the
//! user of whoever connects checked again by its credentials.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

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
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).map_err(fail("setting the mode of"))?;
    chown(&fresh, Some(relay_uid), None).map_err(fail("giving to relay's user"))?;
    fs::rename(&fresh, path).map_err(fail("putting in place"))?;
    Ok(listener)
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
