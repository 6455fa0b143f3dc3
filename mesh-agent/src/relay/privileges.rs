//! relay parses what comes from the network, so it runs with no capability at all (SEMANTICS 9.2). And
//! it holds keys, so nobody but root may read its memory: neither another process of its user, nor
//! whoever finds a core dump. A filter for system calls is not built.

use caps::CapSet;
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, setrlimit};

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
    hide_memory().map_err(PrivilegeError::Readable)
}

/// No tracing and no `/proc/PID/mem` for whoever is not root (prctl(2), PR_SET_DUMPABLE), and no core.
fn hide_memory() -> nix::Result<()> {
    set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use nix::sys::prctl::get_dumpable;
    use nix::sys::resource::{Resource, getrlimit};

    /// Set in the process that the test hides.
    const HIDDEN: &str = "MESH_TEST_HIDDEN";

    #[test]
    fn memory_with_keys_is_for_root_only() {
        if std::env::var_os(HIDDEN).is_some() {
            super::hide_memory().unwrap();
            assert!(!get_dumpable().unwrap());
            assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
            assert_eq!(std::fs::metadata("/proc/self/mem").unwrap().uid(), 0);
            return;
        }
        // It holds for a whole process, so not for this one.
        let name = "relay::privileges::tests::memory_with_keys_is_for_root_only";
        let mut hidden = Command::new(std::env::current_exe().unwrap());
        let output = hidden.args(["--exact", name]).env(HIDDEN, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
