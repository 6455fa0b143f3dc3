//! relay parses what comes from the network, so it runs with no capability at all (SEMANTICS 9.2). And
//! it holds keys, so nobody but root may read its memory: neither another process of its user, nor
//! whoever finds a core dump. A filter for system calls is not built.

use caps::CapSet;
use nix::sys::prctl::set_no_new_privs;

/// Why relay refuses to start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegeError {
    /// It holds capabilities.
    #[error(
        "relay holds capabilities ({set}: {held}) and must not; start it without any, for example with `setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all`"
    )]
    Held {
        /// Which set.
        set: &'static str,
        /// Their names.
        held: String,
    },
    /// They cannot be read.
    #[error("reading the capabilities of this process: {0}")]
    Unreadable(#[from] caps::errors::CapsError),
    /// It cannot give up gaining any.
    #[error("setting no_new_privs: {0}")]
    NoNewPrivileges(nix::Error),
    /// Its memory stays readable.
    #[error("keeping the memory of this process from being read or dumped: {0}")]
    Readable(nix::Error),
}

/// Checks that the process holds no capability and makes sure that it never will, and that nobody but
/// root reads its memory.
///
/// # Errors
/// When it holds one; the message names it. When the kernel does not do it.
pub(crate) fn give_up() -> Result<(), PrivilegeError> {
    for (set, name) in [(CapSet::Effective, "effective"), (CapSet::Permitted, "permitted")] {
        let held = caps::read(None, set)?;
        if !held.is_empty() {
            let mut names: Vec<String> = held.iter().map(ToString::to_string).collect();
            names.sort_unstable();
            return Err(PrivilegeError::Held { set: name, held: names.join(", ") });
        }
    }
    set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)?;
    mesh_api::memory::hide().map_err(PrivilegeError::Readable)
}
