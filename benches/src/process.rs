//! What a process takes of the machine's memory, by the kernel's own account.

use std::{collections::BTreeMap, fs};

use nix::unistd::Pid;

/// The account cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of `/proc`.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It lacks a field.
    #[error("{path} has no {field}: {text:?}")]
    Missing {
        /// Which.
        path: String,
        /// What it lacks.
        field: &'static str,
        /// What it has.
        text: String,
    },
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// In MB, of a million bytes.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people; 53 bits are petabytes")]
    pub fn megabytes(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// The share of its memory that is its own: shared pages count by how many share them (`smaps_rollup`).
///
/// # Errors
/// If the process is gone.
pub fn proportional(process: Pid) -> Result<Bytes, Error> {
    kilobytes(&format!("/proc/{process}/smaps_rollup"), "Pss")
}

/// Its resident memory.
///
/// # Errors
/// If the process is gone.
pub fn resident(process: Pid) -> Result<Bytes, Error> {
    kilobytes(&format!("/proc/{process}/status"), "VmRSS")
}

/// What the kernel's BPF maps that it holds take (`memlock` of their `fdinfo`), each once, by id.
///
/// # Errors
/// If the process is gone.
pub fn maps(process: Pid) -> Result<BTreeMap<u32, Bytes>, Error> {
    let folder = format!("/proc/{process}/fdinfo");
    let failed = |source| Error::Read { path: folder.clone(), source };
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry.map_err(failed)?.path()).unwrap_or_default();
        if let (Some(id), Some(bytes)) = (number(&text, "map_id"), number(&text, "memlock")) {
            maps.insert(u32::try_from(id).unwrap_or_default(), Bytes(bytes));
        }
    }
    Ok(maps)
}

fn kilobytes(path: &str, field: &'static str) -> Result<Bytes, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    number(&text, field).map(|number| Bytes(number * 1024)).ok_or_else(|| Error::Missing {
        path: path.to_owned(),
        field,
        text,
    })
}

/// `NAME:  NUMBER ...` of a file of lines.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text =
            "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:  5000 kB\nPss:  1234 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(number(text, "Pss"), Some(1234));
        assert_eq!(number("map_type:\t1\nmemlock:\t4096\nmap_id:\t7\n", "memlock"), Some(4096));
        assert_eq!(number(text, "memlock"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let ours = nix::unistd::Pid::this();
        assert!(resident(ours).unwrap() > Bytes(0));
        assert!(proportional(ours).unwrap() > Bytes(0));
    }
}
