//! What the program prints.

use std::{
    fmt::Display,
    io::{self, Write as _},
    net::SocketAddr,
};

use nix::errno::Errno;

/// Prints one line, at once: tests read while the program goes on.
pub(super) fn say(key: impl Display, value: impl Display) {
    let mut out = io::stdout().lock();
    // Whoever reads may be gone; there is nobody else to tell.
    let _ = writeln!(out, "{key}={value}").and_then(|()| out.flush());
}

/// `ok`, or the name of the errno.
pub(super) fn named<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => errno(error),
    }
}

/// The name of an error's errno.
pub(crate) fn errno(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| format!("{:?}", error.kind()), |code| format!("{:?}", Errno::from_raw(code)))
}

/// An address of a socket, a v4-mapped one as the IPv4 address it stands for.
pub(super) fn shown(address: io::Result<socket2::SockAddr>) -> String {
    match address.map(|address| address.as_socket()) {
        Ok(Some(address)) => canonical(address).to_string(),
        Ok(None) => "none".to_owned(),
        Err(error) => errno(&error),
    }
}

/// The address with a v4-mapped one as IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
