//! What a process takes of the machine's memory, by the kernel's own account.

use std::{fmt, fs, os::fd::RawFd};

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

/// Memory of a process, and how much of it is its own writing; the rest is pages of files, the program above all,
/// which the kernel can take back at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub all: Bytes,
    /// What no file holds.
    pub anonymous: Bytes,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} MB ({:.2} MB of it anonymous)", self.all.megabytes(), self.anonymous.megabytes())
    }
}

/// The share of its memory that is its own: shared pages count by how many share them (`smaps_rollup`).
///
/// # Errors
/// If the process is gone.
pub fn proportional(process: Pid) -> Result<Memory, Error> {
    memory(&format!("/proc/{process}/smaps_rollup"), "Pss", "Pss_Anon")
}

/// Its resident memory.
///
/// # Errors
/// If the process is gone.
pub fn resident(process: Pid) -> Result<Memory, Error> {
    memory(&format!("/proc/{process}/status"), "VmRSS", "RssAnon")
}

/// What the kernel's BPF map behind a descriptor of this process takes (`memlock` of its `fdinfo`).
///
/// # Errors
/// If it is no map's.
pub fn locked(descriptor: RawFd) -> Result<Bytes, Error> {
    let path = format!("/proc/self/fdinfo/{descriptor}");
    let text = fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    number(&text, "memlock").map(Bytes).ok_or(Error::Missing { path, field: "memlock", text })
}

fn memory(path: &str, all: &'static str, anonymous: &'static str) -> Result<Memory, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let bytes = |field| {
        number(&text, field).map(|kilobytes| Bytes(kilobytes * 1024)).ok_or_else(|| Error::Missing {
            path: path.to_owned(),
            field,
            text: text.clone(),
        })
    };
    Ok(Memory { all: bytes(all)?, anonymous: bytes(anonymous)? })
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
        for memory in [resident(ours).unwrap(), proportional(ours).unwrap()] {
            assert!(memory.anonymous > Bytes(0) && memory.all >= memory.anonymous, "{memory}");
        }
    }
}
