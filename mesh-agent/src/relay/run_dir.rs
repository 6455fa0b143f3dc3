//! The run directory, which wire opens to relay's user: the two start in no order.

use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

/// How often to look.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often at most: a minute. What cannot be written then fails by its own name.
const LOOKS: usize = 600;

/// Waits until files can be put into the directory.
pub(super) async fn wait(path: &Path) {
    for look in 0..LOOKS {
        match access(path, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) => return,
            Err(error) if look == 0 => tracing::info!(
                run_dir = %path.display(), %error,
                "waiting for wire to open the run directory to this process's user"
            ),
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    tracing::warn!(run_dir = %path.display(), "still not writable; is wire running, with --relay-uid of this process's user?");
}
