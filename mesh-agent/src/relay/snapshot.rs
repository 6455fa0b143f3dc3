//! The last good discovery state, on disk: a relay that starts while the controller is away
//! enforces what it enforced before.
//!
//! The file holds the resources as they came, with their versions, so that the stream resumes from
//! it and an agent of another build parses them for itself. It holds no key. It is written a moment
//! after a change and before the change is acknowledged, whole, to a new file that takes the old
//! one's place, with a version and a hash; what does not fit them is ignored and said. Its
//! modification time is as of when the state is known to have been the controller's.
//!
//! At a start the controller has a moment to tell its state before the snapshot counts as the
//! whole state: it may be older than what wire enforces, and nothing is to be taken away for that.

mod file;
mod held;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::node::Node;
use super::resource::parse;

pub(crate) use file::SnapshotError;
pub(crate) use held::Held;

/// The file's name in the run directory.
const FILE: &str = "snapshot";
/// After a change, how long to gather the ones that belong with it.
const SETTLE: Duration = Duration::from_millis(40);
/// Of the time, writing takes at most one part in so many.
const REST: u32 = 10;
/// After a snapshot that could not be written, how long until it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often an unchanged snapshot is marked as current while the controller is connected.
const MARK_EVERY: Duration = Duration::from_secs(30);
/// How long the controller has at a start, before the snapshot counts as the whole state.
const CONTROLLER_WITHIN: Duration = Duration::from_secs(3);

/// Puts the snapshot of an earlier run in force, if there is a good one.
pub(crate) fn restore(node: &Node, held: &Held, run_dir: &Path) {
    let path = run_dir.join(FILE);
    let (records, as_of) = match file::read(&path, &node.name) {
        Ok(Some(read)) => read,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "the snapshot is ignored; nothing new is enforced until the controller tells its state");
            error.to_string().clone_into(&mut node.discovery.snapshot_trouble.borrow_mut());
            return;
        }
    };
    let count = records.len();
    for record in records {
        match parse(record.kind, &record.name, &record.body) {
            Ok(resource) => {
                node.set(&record.name, resource);
                held.insert(record.kind, &record.name, record.version, record.body);
            }
            Err(invalid) => tracing::error!(%invalid, "a resource of the snapshot is ignored"),
        }
    }
    held.saved();
    node.discovery.as_of.set(Some(as_of));
    node.discovery.restored.set(true);
    node.link.changed.notify_one();
    let age = SystemTime::now().duration_since(as_of).unwrap_or_default();
    tracing::info!(resources = count, age_seconds = age.as_secs(), "the snapshot is in force");
}

/// Lets a restored state count as the whole one when the controller does not come soon.
pub(crate) async fn rely_on_restored(node: Rc<Node>) {
    tokio::time::sleep(CONTROLLER_WITHIN).await;
    let discovery = &node.discovery;
    // A stream that is up tells the whole state itself, or breaks.
    while discovery.connected.get() && !*discovery.complete.borrow() {
        tokio::time::sleep(CONTROLLER_WITHIN).await;
    }
    if !*discovery.complete.borrow() && discovery.restored.get() && node.holds_whole() {
        tracing::warn!("the controller is away; the state of the snapshot is enforced");
        discovery.complete.send_replace(true);
    }
}

/// Keeps the snapshot current for as long as relay runs.
pub(crate) async fn keep(node: Rc<Node>, held: Rc<Held>, run_dir: PathBuf) {
    let path = run_dir.join(FILE);
    let mut told_stale = false;
    held.keep(if held.is_unsaved() { 0 } else { held.changes() });
    loop {
        tokio::select! {
            () = held.changed() => {
                tokio::time::sleep(SETTLE).await;
                // A part is not kept in the place of a whole.
                let mut complete = node.discovery.complete.subscribe();
                if complete.wait_for(|complete| *complete).await.is_err() {
                    return;
                }
                let began = Instant::now();
                let written = save(&node, &held, &path).await;
                tokio::time::sleep(if written { began.elapsed() * (REST - 1) } else { AGAIN }).await;
            }
            () = tokio::time::sleep(MARK_EVERY) => mark(&node, &held, &path),
        }
        let stale = node.discovery.stale(SystemTime::now());
        if let Some(problem) = &stale
            && !told_stale
        {
            tracing::warn!(problem, "discovery is too old");
        }
        told_stale = stale.is_some();
    }
}

/// Writes it; false where it cannot be written.
async fn save(node: &Node, held: &Held, path: &Path) -> bool {
    held.saved();
    let change = held.changes();
    // The file is the next relay's by now.
    if node.link.leaving.get() {
        held.keep(change);
        return true;
    }
    let bytes = held.encode(&node.name);
    let target = path.to_owned();
    let result = tokio::task::spawn_blocking(move || file::write(&target, &bytes))
        .await
        .unwrap_or_else(|error| Err(SnapshotError::Write { path: path.to_owned(), source: error.into() }));
    // Where it cannot be written, policy goes on changing; `snapshot_trouble` says it.
    held.keep(change);
    let trouble = match result {
        Ok(()) => String::new(),
        Err(error) => {
            tracing::error!(%error, "the snapshot is not written; trying again");
            held.touch();
            error.to_string()
        }
    };
    let written = trouble.is_empty();
    *node.discovery.snapshot_trouble.borrow_mut() = trouble;
    written
}

/// While the controller is connected, what is on disk is its state as of now.
fn mark(node: &Node, held: &Held, path: &Path) {
    if !node.discovery.connected.get() || node.link.leaving.get() || held.is_unsaved() {
        return;
    }
    let marked = std::fs::File::options().write(true).open(path);
    match marked.and_then(|file| file.set_modified(SystemTime::now())) {
        Ok(()) => {}
        // Somebody took it away, or it was never there: write it anew.
        Err(_) => held.touch(),
    }
}
