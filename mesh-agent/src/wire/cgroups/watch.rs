//! Cgroup events, as a sign to look again.
//!
//! Watches are per directory and see only what comes after them, so after adding one the tree is
//! looked at again; the queue may overflow, and then everything is looked at again.

use std::io;
use std::path::PathBuf;
use std::thread;

use inotify::{Inotify, WatchMask, Watches};

/// Adds watches to directories.
pub(in super::super) struct Watcher(Watches);

impl Watcher {
    /// Starts a thread that calls `changed` after every change in a watched directory.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance, or the thread cannot be made.
    pub(in super::super) fn start(changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut inotify = Inotify::init()?;
        let watches = inotify.watches();
        thread::Builder::new().name("cgroups".to_owned()).spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                match inotify.read_events_blocking(&mut buffer) {
                    // Also an overflow is only a reason to look.
                    Ok(_) => changed(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        // The timer of the loop still looks every second.
                        tracing::error!(%error, "cgroup events are lost");
                        return;
                    }
                }
            }
        })?;
        Ok(Self(watches))
    }

    /// Watches these directories and files; watching one twice is one watch.
    pub(in super::super) fn watch(&mut self, paths: &[PathBuf]) {
        let coming_and_going = WatchMask::CREATE
            | WatchMask::MODIFY
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO;
        for path in paths {
            match self.0.add(path, coming_and_going) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(
                    path = %path.display(), %error,
                    "cannot watch a cgroup; looking every second instead (fs.inotify limits?)"
                ),
            }
        }
    }
}
