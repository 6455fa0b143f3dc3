//! Notices changes of a [`Directory`]: inotify where it can, a look at every file's times besides.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};

use super::{Directory, Snapshot, Source, SourceError};

/// Events that come this close together are one change.
const QUIET: Duration = Duration::from_millis(15);
/// A change is not held back longer than this, however many follow.
const HELD_BACK: Duration = Duration::from_millis(120);
/// The files are looked at this often even without an event: a symbolic link's far end and some
/// file systems tell nothing.
const RESCAN: Duration = Duration::from_secs(2);

/// A watched directory.
pub struct Watch {
    directory: Directory,
    watcher: Option<RecommendedWatcher>,
    /// What is watched, and which directory that was: a replaced one needs a new watch.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    events: Receiver<()>,
    wake: SyncSender<()>,
    rescan: Duration,
}

impl Watch {
    /// Starts to watch.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        // One pending wake-up is as good as many: the scan looks at everything.
        let (wake, events) = sync_channel(1);
        let watch = Self { directory, watcher: None, watched: BTreeMap::new(), events, wake, rescan: RESCAN };
        watch.watching()
    }

    /// The same with another time between looks.
    #[must_use]
    pub fn rescan_every(mut self, rescan: Duration) -> Self {
        self.rescan = rescan;
        self
    }

    fn watching(mut self) -> Self {
        let wake = self.wake.clone();
        let woken = move |event: notify::Result<notify::Event>| {
            // Our own reading opens files and directories; only what may have written counts.
            if event.is_ok_and(|event| is_read(event.kind)) {
                return;
            }
            // A full channel already holds the wake-up.
            let _ = wake.try_send(());
        };
        match notify::recommended_watcher(woken) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::warn!(%error, every = ?self.rescan, "cannot watch for changes; looking at the files instead");
            }
        }
        self.watch_roots();
        self
    }

    /// Watches the roots, once more where one is another directory than before.
    fn watch_roots(&mut self) {
        let Some(watcher) = self.watcher.as_mut() else { return };
        for root in [self.directory.root().to_owned(), self.directory.kubelet().to_owned()] {
            let Ok(metadata) = fs::metadata(&root) else { continue };
            let identity = (metadata.dev(), metadata.ino());
            if self.watched.get(&root) == Some(&identity) {
                continue;
            }
            if self.watched.remove(&root).is_some() {
                let _ = watcher.unwatch(&root);
            }
            match watcher.watch(&root, RecursiveMode::Recursive) {
                Ok(()) => {
                    self.watched.insert(root, identity);
                }
                Err(error) => tracing::warn!(%error, root = %root.display(), "cannot watch for changes"),
            }
        }
    }
}

impl Source for Watch {
    fn now(&mut self) -> Result<Option<Snapshot>, SourceError> {
        self.watch_roots();
        self.directory.load()
    }

    /// Waits for an event, or for the time of the next look.
    fn changed(&mut self) -> Result<Option<Snapshot>, SourceError> {
        if self.events.recv_timeout(self.rescan).is_ok() {
            let began = Instant::now();
            while began.elapsed() < HELD_BACK
                && self.events.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout)
            {}
        }
        self.now()
    }
}

fn is_read(kind: EventKind) -> bool {
    kind.is_access() && kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}
