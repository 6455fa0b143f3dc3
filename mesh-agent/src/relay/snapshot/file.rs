//! The file: `MESHSNAP`, version (4 bytes, little-endian), SHA-256 of the rest, the rest.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::relay::resource::Kind;

const MAGIC: &[u8; 8] = b"MESHSNAP";
/// Counts up when the layout changes.
const VERSION: u32 = 1;
const HASH: usize = 32;
const HEADER: usize = MAGIC.len() + size_of::<u32>() + HASH;
/// The longest file that is read, bytes.
const LONGEST: u64 = 256 << 20;

/// Why a snapshot is not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// It cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a good one.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A resource as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Content<'a> {
    node: &'a str,
    /// Type URL, name, version, body.
    #[serde(borrow)]
    resources: Vec<(&'a str, &'a str, &'a str, &'a [u8])>,
}

/// The bytes of a snapshot of `node`.
pub(super) fn encode<'a>(
    node: &str,
    resources: impl Iterator<Item = (Kind, &'a str, &'a str, &'a [u8])>,
) -> Vec<u8> {
    let urls = Kind::ALL.map(|kind| (kind, kind.type_url()));
    let url = |kind| urls.iter().find(|known| known.0 == kind).map_or("", |known| known.1.as_str());
    let resources = resources.map(|(kind, name, version, body)| (url(kind), name, version, body)).collect();
    let content = postcard::to_stdvec(&Content { node, resources }).expect("memory is all it takes");
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&content));
    bytes.extend_from_slice(&content);
    bytes
}

/// The resources in the bytes of a snapshot of `node`, or what is wrong with them.
pub(super) fn decode(bytes: &[u8], node: &str) -> Result<Vec<Record>, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is no snapshot")?;
    let (version, rest) = rest.split_first_chunk().ok_or("it is cut short")?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(format!("it has version {version}; this agent knows {VERSION}"));
    }
    let (hash, content) = rest.split_first_chunk::<HASH>().ok_or("it is cut short")?;
    if Sha256::digest(content).as_slice() != hash {
        return Err("its hash is not that of its content: it was damaged or changed".to_owned());
    }
    let content: Content<'_> = postcard::from_bytes(content).map_err(|error| error.to_string())?;
    if content.node != node {
        return Err(format!("it is of node `{}`", content.node));
    }
    let record = |(url, name, version, body): (&str, &str, &str, &[u8])| {
        let kind =
            Kind::of_type_url(url).ok_or_else(|| format!("resource {name} has the unknown type {url}"))?;
        Ok(Record { kind, name: name.to_owned(), version: version.to_owned(), body: body.to_vec() })
    };
    content.resources.into_iter().map(record).collect()
}

/// Reads a snapshot of `node` and as of when it is; `None` when there is none.
pub(super) fn read(path: &Path, node: &str) -> Result<Option<(Vec<Record>, SystemTime)>, SnapshotError> {
    let failed = |source| SnapshotError::Read { path: path.to_owned(), source };
    let invalid = |problem| SnapshotError::Invalid { path: path.to_owned(), problem };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.len() > LONGEST {
        return Err(invalid(format!("it is {} bytes long; at most {LONGEST} are read", metadata.len())));
    }
    let records = decode(&fs::read(path).map_err(failed)?, node).map_err(invalid)?;
    Ok(Some((records, metadata.modified().map_err(failed)?)))
}

/// Puts a snapshot in the place of the one before.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let fresh = path.with_extension("new");
    let written = || {
        // Left over from a run that was killed.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        // The new name must outlive a loss of power, like the content.
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    written().map_err(|source| SnapshotError::Write { path: path.to_owned(), source })
}
