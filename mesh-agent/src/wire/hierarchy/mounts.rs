//! The mount table, as far as it is about cgroup2 (`proc_pid_mountinfo(5)`).

use std::path::{Component, Path, PathBuf};

/// A mount of cgroup2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) point: PathBuf,
    /// Which directory of the hierarchy its root is.
    pub(super) root: Shown,
}

/// A directory of the hierarchy as the kernel shows it to a process: from the root of that
/// process's cgroup namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// The namespace's root, or a directory below it.
    Down(PathBuf),
    /// So many levels above it, and perhaps down again by another way.
    Up(PathBuf),
}

impl Shown {
    fn of(path: PathBuf) -> Self {
        if path.components().any(|part| part == Component::ParentDir) {
            Self::Up(path)
        } else {
            Self::Down(path)
        }
    }
}

/// The mounts of cgroup2, in the order of the table.
pub(super) fn cgroup2(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "cgroup2").then_some(())?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        Some(Mount { point: unescaped(point).into(), root: Shown::of(unescaped(root).into()) })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// The mount that holds a directory, and that directory; or the uppermost mount below it, and its
/// root. Of two at one place the later one lies over the other.
pub(super) fn choose(mounts: Vec<Mount>, directory: &Path) -> Option<(Mount, PathBuf)> {
    let depth = |mount: &&Mount| mount.point.components().count();
    let holding = mounts.iter().filter(|mount| directory.starts_with(&mount.point));
    if let Some(mount) = holding.max_by_key(depth) {
        return Some((mount.clone(), directory.to_owned()));
    }
    let below = mounts.iter().rev().filter(|mount| mount.point.starts_with(directory));
    let mount = below.min_by_key(depth)?;
    Some((mount.clone(), mount.point.clone()))
}

/// Spaces, tabs, line ends and backslashes are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
