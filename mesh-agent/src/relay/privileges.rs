//! relay parses what comes from the network, so it runs with no capability at all (SEMANTICS 9.2).

use caps::CapSet;

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
    NoNewPrivileges(#[from] nix::Error),
}

/// Checks that the process holds no capability and makes sure that it never will.
///
/// # Errors
/// When it holds one; the message names it.
pub(crate) fn give_up() -> Result<(), PrivilegeError> {
    for (set, name) in [(CapSet::Effective, "effective"), (CapSet::Permitted, "permitted")] {
        let held = caps::read(None, set)?;
        if !held.is_empty() {
            let mut names: Vec<String> = held.iter().map(ToString::to_string).collect();
            names.sort_unstable();
            return Err(PrivilegeError::Held { set: name, held: names.join(", ") });
        }
    }
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}
