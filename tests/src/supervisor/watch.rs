//! Watching the source directory.

use std::{path::Path, time::Duration};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// An editor's save is several events; this much later it is over.
pub(super) const SETTLE: Duration = Duration::from_millis(30);

/// Calls `changed` whenever something in the directory or below did, until the result is dropped.
pub(super) fn watch(
    directory: &Path,
    changed: impl Fn() + Send + 'static,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading does not change; an error may hide a change.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changed();
        }
    })?;
    watcher.watch(directory, RecursiveMode::Recursive)?;
    Ok(watcher)
}
