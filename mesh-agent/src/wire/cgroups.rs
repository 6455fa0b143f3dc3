//! The cgroup tree: which directories are pods, whatever the kubelet's driver and the runtime.
//!
//! The kubelet makes a pod's directory before its sandbox, and the directory's inode is the id
//! that the kernel programs see, so a pod is known here before its first process exists.

mod name;
#[cfg(test)]
mod tests;
pub(super) mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use name::{Directory, classify};

use super::hierarchy::{Hierarchy, cgroup_id};

/// How deep below the cgroup root a pods root is looked for: `kubepods.slice`, or
/// `kubelet.slice/kubelet-kubepods.slice`.
const ROOT_DEPTH: usize = 2;

/// A cgroup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Its id.
    pub(super) id: u64,
    /// Its depth in the hierarchy; the kernel's root is 0.
    pub(super) level: u32,
    /// Its path.
    pub(super) path: PathBuf,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Directories below which every cgroup is some pod's.
    pub(super) roots: Vec<Cgroup>,
    /// Pods, by UID.
    pub(super) pods: BTreeMap<String, Cgroup>,
    /// Depths a pod directory may be at: first and last.
    pub(super) levels: Option<(u32, u32)>,
    /// Directories in which a pod, a class of pods or a pods root may appear, and the files that
    /// change with a pod's first process.
    pub(super) watch: Vec<PathBuf>,
}

/// Where to look.
#[derive(Debug, Clone)]
pub(super) struct Finder {
    /// The hierarchy, for depths.
    pub(super) hierarchy: Hierarchy,
    /// Everything of this node is below.
    pub(super) root: PathBuf,
    /// Pods roots of other names.
    pub(super) named_roots: Vec<PathBuf>,
}

impl Finder {
    /// Looks at the whole tree.
    ///
    /// # Errors
    /// When the cgroup root itself cannot be read; what vanishes meanwhile is not there.
    pub(super) fn scan(&self) -> io::Result<Tree> {
        fs::metadata(&self.root)?;
        let mut tree = Tree::default();
        self.look_for_roots(&self.root, ROOT_DEPTH, &mut tree);
        for named in &self.named_roots {
            let path = self.root.join(named);
            if path.is_dir() && !tree.roots.iter().any(|root| root.path == path) {
                self.pods_root(&path, &mut tree);
            }
        }
        Ok(tree)
    }

    fn look_for_roots(&self, directory: &Path, depth: usize, tree: &mut Tree) {
        tree.watch.push(directory.to_owned());
        for (path, name) in children(directory) {
            match classify(&name) {
                Directory::PodsRoot => self.pods_root(&path, tree),
                _ if depth > 1 => self.look_for_roots(&path, depth - 1, tree),
                _ => {}
            }
        }
    }

    fn pods_root(&self, path: &Path, tree: &mut Tree) {
        let Some(root) = self.cgroup(path) else { return };
        // Pods may come directly below it, and one deeper as soon as a class of pods is there.
        tree.reach(root.level + 1);
        tree.roots.push(root);
        self.look_for_pods(path, true, tree);
    }

    fn look_for_pods(&self, directory: &Path, classes: bool, tree: &mut Tree) {
        tree.watch.push(directory.to_owned());
        for (path, name) in children(directory) {
            match classify(&name) {
                Directory::Pod(uid) => {
                    let Some(pod) = self.cgroup(&path) else { continue };
                    tree.reach(pod.level);
                    // Its first process shows as a change of this file. Watching the directory
                    // is not enough: kernfs tells it only of files whose inode is in memory.
                    tree.watch.push(path.join("cgroup.events"));
                    tree.watch.push(path);
                    tree.pods.insert(uid, pod);
                }
                Directory::QosClass if classes => {
                    tree.reach(self.hierarchy.level(&path) + 1);
                    self.look_for_pods(&path, false, tree);
                }
                _ => {}
            }
        }
    }

    fn cgroup(&self, path: &Path) -> Option<Cgroup> {
        let id = cgroup_id(path).ok()?;
        Some(Cgroup { id, level: self.hierarchy.level(path), path: path.to_owned() })
    }
}

impl Tree {
    fn reach(&mut self, level: u32) {
        let (first, last) = self.levels.unwrap_or((level, level));
        self.levels = Some((first.min(level), last.max(level)));
    }
}

fn children(directory: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then_some(())?;
            Some((entry.path(), entry.file_name().into_string().ok()?))
        })
        .collect()
}

/// The processes of a cgroup and everything below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Processes {
    /// Those that can be named.
    pub(super) pids: Vec<u32>,
    /// There are others, of a PID namespace that this process does not see.
    pub(super) hidden: bool,
}

/// Looks for at most `limit` processes.
pub(super) fn processes(cgroup: &Path, limit: usize) -> Processes {
    let mut found = Processes::default();
    let mut waiting = vec![cgroup.to_owned()];
    while let Some(directory) = waiting.pop() {
        if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
            found.read(&text);
        }
        if found.pids.len() >= limit {
            break;
        }
        waiting.extend(children(&directory).into_iter().map(|(path, _)| path));
    }
    found.pids.truncate(limit);
    found
}

impl Processes {
    /// Takes over the lines of a `cgroup.procs`; 0 is a process that has no number here.
    fn read(&mut self, text: &str) {
        for pid in text.lines().filter_map(|line| line.parse::<u32>().ok()) {
            match pid {
                0 => self.hidden = true,
                pid => self.pids.push(pid),
            }
        }
    }
}
