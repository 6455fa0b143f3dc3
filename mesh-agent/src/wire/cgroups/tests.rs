//! The layouts of real nodes, as directories of an ordinary file system.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Finder, Processes, Tree, processes};
use crate::wire::hierarchy::Hierarchy;

const UID: &str = "0f6e52c4-3c8e-4c0c-9a52-8b4d6d4f8a11";
const OTHER: &str = "1f6e52c4-3c8e-4c0c-9a52-8b4d6d4f8a12";
/// A static pod's: the hash of its manifest.
const STATIC: &str = "8bf11e46c9a0c4b8d5a5a3e1f0d2c7b6";
const CONTAINER: &str = "4f1c0de5e7a94c55c0f3a3d7d5a2a1b0";

/// What is found of these directories, paths relative to the root.
fn scan(directories: &[String]) -> (Tree, BTreeMap<String, (String, u32)>) {
    let root = tempfile::tempdir().unwrap();
    for directory in directories {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    let at = root.path().canonicalize().unwrap();
    // Two levels down, as on a node that is a container.
    let hierarchy = Hierarchy::at(&at, 2);
    let tree = Finder { hierarchy, root: at.clone(), named_roots: Vec::new() }.scan().unwrap();
    let relative = |path: &Path| path.strip_prefix(&at).unwrap().display().to_string();
    let pods = tree.pods.iter().map(|(uid, pod)| (uid.clone(), (relative(&pod.path), pod.level))).collect();
    (tree, pods)
}

#[test]
fn the_cgroupfs_driver_of_kubelet() {
    let (tree, pods) = scan(&[
        format!("kubepods/burstable/pod{UID}/{CONTAINER}"),
        format!("kubepods/besteffort/pod{STATIC}/{CONTAINER}"),
        format!("kubepods/pod{OTHER}/{CONTAINER}"),
        "system/kubelet".to_owned(),
        "init".to_owned(),
    ]);
    let place = |uid: &str| pods.get(uid).map(|(path, level)| (path.as_str(), *level));
    assert_eq!(place(UID), Some((&*format!("kubepods/burstable/pod{UID}"), 5)));
    assert_eq!(place(STATIC), Some((&*format!("kubepods/besteffort/pod{STATIC}"), 5)));
    assert_eq!(place(OTHER), Some((&*format!("kubepods/pod{OTHER}"), 4)));
    assert_eq!(pods.len(), 3);
    assert_eq!((tree.roots.len(), tree.levels), (1, Some((4, 5))));
    assert_eq!(tree.roots[0].level, 3);
}

#[test]
fn the_systemd_driver_of_kubelet_with_the_scopes_of_every_runtime() {
    let uid = |uid: &str| uid.replace('-', "_");
    let burstable =
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice", uid(UID));
    let guaranteed = format!("kubepods.slice/kubepods-pod{}.slice", uid(OTHER));
    let (tree, pods) = scan(&[
        format!("{burstable}/cri-containerd-{CONTAINER}.scope"),
        format!("{burstable}/crio-{CONTAINER}.scope/container"),
        format!("{guaranteed}/crio-conmon-{CONTAINER}.scope"),
        format!("{guaranteed}/docker-{CONTAINER}.scope"),
        "system.slice/containerd.service".to_owned(),
        "user.slice/user-1000.slice".to_owned(),
    ]);
    assert_eq!(pods[UID], (burstable, 5));
    assert_eq!(pods[OTHER], (guaranteed, 4));
    assert_eq!(pods.len(), 2);
    assert_eq!(tree.levels, Some((4, 5)));
}

#[test]
fn a_node_in_a_container_has_its_pods_root_one_deeper() {
    let systemd = UID.replace('-', "_");
    let deep = format!(
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{systemd}.slice"
    );
    let (tree, pods) = scan(&[deep.clone(), format!("kubelet/kubepods/burstable/pod{OTHER}")]);
    assert_eq!(pods[UID], (deep, 6));
    assert_eq!(pods[OTHER], (format!("kubelet/kubepods/burstable/pod{OTHER}"), 6));
    assert_eq!(tree.roots.len(), 2);
}

#[test]
fn processes_of_every_container_are_found_and_strangers_are_noticed() {
    let pod = tempfile::tempdir().unwrap();
    let write = |directory: &str, text: &str| {
        fs::create_dir_all(pod.path().join(directory)).unwrap();
        fs::write(pod.path().join(directory).join("cgroup.procs"), text).unwrap();
    };
    assert_eq!(processes(pod.path(), 8), Processes::default());
    write("", "");
    write("sandbox", "41\n");
    write("crio-x.scope/container", "42\n43\n");
    let mut found = processes(pod.path(), 8);
    found.pids.sort_unstable();
    assert_eq!(found, Processes { pids: vec![41, 42, 43], hidden: false });
    // Without hostPID every process outside the agent's own pod shows as 0.
    write("sandbox", "0\n");
    write("crio-x.scope/container", "0\n0\n");
    assert_eq!(processes(pod.path(), 8), Processes { pids: Vec::new(), hidden: true });
}
