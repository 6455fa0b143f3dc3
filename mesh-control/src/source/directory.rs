//! The directory: its files, what was last read of each, and what they come to together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use mesh_api::condition::{ACCEPTED, Condition};

use super::{
    Snapshot, SourceError,
    decode::{Decoded, decode},
    merge::merge,
    overlay::Overlay,
    yaml,
};
use crate::objects::{ObjectName, ObjectRef, Objects};

/// Files beyond this size are refused: no object needs them, and they would stall everything.
const FILE_SIZE_LIMIT: u64 = 16 << 20;
/// At most this many files are read.
const FILE_COUNT_LIMIT: usize = 100_000;
/// Directories are followed to this depth.
const DEPTH_LIMIT: usize = 32;
/// A file younger than this when it was read may change once more without its times showing it.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// A directory of YAML, and over it the kubelet part's own objects.
#[derive(Debug)]
pub struct Directory {
    files: Files,
    kubelet: Files,
    base: Objects,
    reported: Objects,
    overlay: Overlay,
    /// Something was read that the last snapshot does not have.
    unmerged: bool,
}

impl Directory {
    /// The directory `root`, under the objects that the kubelet part writes to `kubelet`.
    #[must_use]
    pub fn new(root: PathBuf, kubelet: PathBuf) -> Self {
        Self {
            files: Files::new(root),
            kubelet: Files::new(kubelet),
            base: Objects::default(),
            reported: Objects::default(),
            overlay: Overlay::default(),
            unmerged: false,
        }
    }

    /// The directory's path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.files.root
    }

    /// Where the kubelet part writes.
    #[must_use]
    pub fn kubelet(&self) -> &Path {
        &self.kubelet.root
    }

    /// Reads what changed since the last time. Nothing is returned when nothing did.
    ///
    /// # Errors
    /// When the directory itself cannot be read; what was read before stays in force.
    pub fn load(&mut self) -> Result<Option<Snapshot>, SourceError> {
        let first = self.files.files.is_none();
        let sources = self.files.scan();
        let kubelet = if self.kubelet.root.is_dir() { self.kubelet.scan() } else { Ok(false) };
        // What one of them read counts even when the other fails now.
        self.unmerged |= first || matches!(sources, Ok(true)) || matches!(kubelet, Ok(true));
        sources?;
        kubelet?;
        if !std::mem::take(&mut self.unmerged) {
            return Ok(None);
        }
        let (base, mut problems) = merge(self.files.decoded(), &self.base);
        let (reported, reported_problems) = merge(self.kubelet.decoded(), &self.reported);
        for (reference, conditions) in reported_problems {
            problems.entry(reference).or_default().extend(conditions);
        }
        let objects = self.overlay.apply(&base, &reported);
        self.base = base;
        self.reported = reported;
        Ok(Some(Snapshot { objects, problems, trouble: None }))
    }
}

/// The files under one root.
#[derive(Debug)]
struct Files {
    root: PathBuf,
    /// By path below the root; nothing before the first scan.
    files: Option<BTreeMap<String, File>>,
}

/// What was last read of a file.
#[derive(Debug, Clone)]
struct File {
    fingerprint: Fingerprint,
    settled: bool,
    decoded: Vec<Decoded>,
}

/// Changes whenever a file does, in place or by replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    fn new(root: PathBuf) -> Self {
        Self { root, files: None }
    }

    fn decoded(&self) -> impl Iterator<Item = (&str, &Decoded)> {
        let files = self.files.iter().flatten();
        files.flat_map(|(path, file)| file.decoded.iter().map(move |decoded| (path.as_str(), decoded)))
    }

    /// Looks at every file and reads those that changed. Tells whether any did.
    fn scan(&mut self) -> Result<bool, SourceError> {
        let mut found = BTreeMap::new();
        find(&self.root, &self.root, &mut Vec::new(), &mut found)?;
        let mut previous = self.files.take().unwrap_or_default();
        let mut changed = false;
        let mut files = BTreeMap::new();
        for (path, metadata) in found {
            let last = previous.remove(&path);
            let fingerprint = Fingerprint::of(&metadata);
            let file = match last {
                Some(file) if file.settled && file.fingerprint == fingerprint => file,
                last => {
                    let file = read(&self.root, &path, &metadata, last.as_ref());
                    changed |= last.is_none_or(|last| last.decoded != file.decoded);
                    file
                }
            };
            files.insert(path, file);
        }
        changed |= !previous.is_empty();
        self.files = Some(files);
        Ok(changed)
    }
}

impl Fingerprint {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Collects the manifests below `directory`, through symbolic links, each directory once on the
/// way down. Dot files, `*.tmp` and what is no YAML or JSON are passed over.
fn find(
    root: &Path,
    directory: &Path,
    above: &mut Vec<(u64, u64)>,
    found: &mut BTreeMap<String, fs::Metadata>,
) -> Result<(), SourceError> {
    let failed = |cause| SourceError::List { path: directory.to_owned(), cause };
    let metadata = fs::metadata(directory).map_err(failed)?;
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) || above.len() >= DEPTH_LIMIT {
        return Ok(());
    }
    above.push(identity);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        // A link that leads nowhere, or a file that went away meanwhile, is no file.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if hidden {
            continue;
        }
        if metadata.is_dir() {
            match find(root, &path, above, found) {
                // It may have gone away meanwhile.
                Err(SourceError::List { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        } else if metadata.is_file() && is_manifest(&path) {
            if found.len() >= FILE_COUNT_LIMIT {
                return Err(SourceError::TooManyFiles { path: root.to_owned(), limit: FILE_COUNT_LIMIT });
            }
            let below = path.strip_prefix(root).unwrap_or(&path);
            found.insert(below.to_string_lossy().into_owned(), metadata);
        }
    }
    above.pop();
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

/// Reads one file. Of documents that cannot be read, and of a file that cannot be, the objects
/// that were read before stay in force: SEMANTICS 5.3.
fn read(root: &Path, path: &str, metadata: &fs::Metadata, last: Option<&File>) -> File {
    let reference =
        ObjectRef { api_version: String::new(), kind: "File".to_owned(), name: ObjectName::cluster(path) };
    let mut decoded = Vec::new();
    let mut errors = Vec::new();
    match text(&root.join(path), metadata) {
        Ok(text) => {
            for document in yaml::documents(&text) {
                match document {
                    Ok(document) => decoded.extend(decode(document, &reference)),
                    Err(error) => errors.push(error.to_string()),
                }
            }
        }
        Err(error) => errors.push(error),
    }
    if !errors.is_empty() {
        let read: BTreeSet<_> = decoded.iter().filter_map(object_of).cloned().collect();
        let kept: Vec<_> = last
            .into_iter()
            .flat_map(|last| &last.decoded)
            .filter(|decoded| object_of(decoded).is_some_and(|object| !read.contains(object)))
            .cloned()
            .collect();
        let names: Vec<_> = kept.iter().filter_map(object_of).map(ToString::to_string).collect();
        let stays = if names.is_empty() {
            "it defines nothing until it is corrected".to_owned()
        } else {
            format!("as last read stay in force: {}", names.join(", "))
        };
        decoded.extend(kept);
        let message = format!("file {path} cannot be read: {}; {stays}", errors.join("; "));
        let condition = Condition::failed(ACCEPTED, "Unparsable", message);
        decoded.push(Decoded::Problem(reference, condition));
    }
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    File {
        fingerprint: Fingerprint::of(metadata),
        settled: age.is_some_and(|age| age > SETTLED_AFTER),
        decoded,
    }
}

/// Texts by path, and of those that cannot be read why.
pub(crate) type Texts = Vec<(String, Result<String, String>)>;

/// The text of every manifest below `root`, by path below it, or why it cannot be read.
pub(super) fn texts(root: &Path) -> Result<Texts, SourceError> {
    let mut found = BTreeMap::new();
    find(root, root, &mut Vec::new(), &mut found)?;
    let read = |(path, metadata): (String, fs::Metadata)| {
        let read = text(&root.join(&path), &metadata);
        (path, read)
    };
    Ok(found.into_iter().map(read).collect())
}

fn object_of(decoded: &Decoded) -> Option<&ObjectRef> {
    match decoded {
        Decoded::Object(reference, _) => Some(reference),
        Decoded::Problem(..) => None,
    }
}

fn text(path: &Path, metadata: &fs::Metadata) -> Result<String, String> {
    if metadata.len() > FILE_SIZE_LIMIT {
        return Err(format!(
            "{} bytes are more than the {FILE_SIZE_LIMIT} that are read; split it",
            metadata.len()
        ));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}
