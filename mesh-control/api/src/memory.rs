//! Memory that holds keys: the controller's sign for everybody, relay's prove who its pods are.

use nix::sys::{
    prctl::set_dumpable,
    resource::{Resource, setrlimit},
};

/// Keeps this process's memory from everybody but root: no tracing and no `/proc/PID/mem` for others
/// of its user (prctl(2), `PR_SET_DUMPABLE`), and no core dump.
///
/// # Errors
/// When the kernel does not do it.
pub fn hide() -> nix::Result<()> {
    set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt as _, process::Command};

    use nix::sys::{
        prctl::get_dumpable,
        resource::{Resource, getrlimit},
    };

    /// Set in the process that the test hides.
    const HIDDEN: &str = "MESH_TEST_HIDDEN";

    #[test]
    fn memory_with_keys_is_for_root_only() {
        if std::env::var_os(HIDDEN).is_some() {
            super::hide().unwrap();
            assert!(!get_dumpable().unwrap());
            assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
            assert_eq!(std::fs::metadata("/proc/self/mem").unwrap().uid(), 0);
            return;
        }
        // It holds for a whole process, so not for this one.
        let name = "memory::tests::memory_with_keys_is_for_root_only";
        let mut hidden = Command::new(std::env::current_exe().unwrap());
        let output = hidden.args(["--exact", name]).env(HIDDEN, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
