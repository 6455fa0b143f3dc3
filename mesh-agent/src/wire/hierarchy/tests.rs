use std::path::{Path, PathBuf};

use super::mounts::{Mount, Shown, cgroup2, choose};
use super::{Base, Hierarchy, without};

fn chosen(table: &str, directory: &str) -> Option<(PathBuf, Shown, PathBuf)> {
    choose(cgroup2(table), Path::new(directory)).map(|(Mount { point, root }, at)| (point, root, at))
}

const HYBRID: &str = "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
    30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    31 30 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
    32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

/// A container with a cgroup namespace of its own and the node's hierarchy beside its own view.
const CONTAINER: &str = "501 500 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
    502 499 0:27 /../../../.. /host/cgroup ro master:9 - cgroup2 cgroup2 rw\n";

#[test]
fn a_hybrid_hierarchy_is_found_from_inside_and_from_above() {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    let root = Shown::Down("/".into());
    let inside = "/sys/fs/cgroup/unified/kubepods";
    assert_eq!(chosen(HYBRID, inside), Some((unified.clone(), root.clone(), inside.into())));
    assert_eq!(chosen(HYBRID, "/sys/fs/cgroup"), Some((unified.clone(), root, unified)));
    assert_eq!(chosen(HYBRID, "/sys/fs/cgroup/memory"), None);
    assert_eq!(chosen(HYBRID, "/sys/fs/cgroupx"), None);
}

#[test]
fn a_container_tells_its_own_view_from_the_nodes() {
    let own = chosen(CONTAINER, "/sys/fs/cgroup").unwrap();
    assert_eq!(own.1, Shown::Down("/".into()));
    let node = chosen(CONTAINER, "/host/cgroup").unwrap();
    assert_eq!(node, ("/host/cgroup".into(), Shown::Up("/../../../..".into()), "/host/cgroup".into()));
}

#[test]
fn escapes_of_the_table_are_undone_and_the_later_mount_counts() {
    let table =
        "1 0 0:27 / /a\\040b\\134c rw - cgroup2 none rw\n2 0 0:27 /x /a\\040b\\134c rw - cgroup2 none rw\n";
    let (point, root, _) = chosen(table, "/a b\\c/kubepods").unwrap();
    assert_eq!(point, Path::new("/a b\\c"));
    assert_eq!(root, Shown::Down("/x".into()));
    assert_eq!(cgroup2("1 0 0:27 / /odd\\9 rw - cgroup2 none rw\n")[0].point, Path::new("/odd\\9"));
}

#[test]
fn levels_count_from_the_kernels_root() {
    let base = Base::Above("/".into());
    let node = Hierarchy { mount: "/sys/fs/cgroup".into(), depth: 0, base: base.clone() };
    assert_eq!(node.level(Path::new("/sys/fs/cgroup")), 0);
    assert_eq!(node.level(Path::new("/sys/fs/cgroup/kubepods/poda")), 2);
    let nested = Hierarchy { mount: "/sys/fs/cgroup".into(), depth: 2, base };
    assert_eq!(nested.level(Path::new("/sys/fs/cgroup/kubepods/poda")), 4);
}

#[test]
fn processes_are_found_whatever_their_paths_begin_at() {
    let found = |base: Base, shown: &str| {
        let hierarchy = Hierarchy { mount: "/host/cgroup".into(), depth: 0, base };
        hierarchy.locate(Path::new(shown)).map(|path| path.display().to_string())
    };
    let whole = || Base::Above("/".into());
    assert_eq!(found(whole(), "/").as_deref(), Some("/host/cgroup"));
    assert_eq!(found(whole(), "/kubepods/poda/c").as_deref(), Some("/host/cgroup/kubepods/poda/c"));
    assert_eq!(found(whole(), "/../x"), None, "above what is mounted");
    let part = || Base::Above("/node".into());
    assert_eq!(found(part(), "/node/kubepods").as_deref(), Some("/host/cgroup/kubepods"));
    assert_eq!(found(part(), "/other"), None);
    // In a container's namespace: itself, its neighbour in the pod, and what is outside the mount.
    let container = || Base::Below("/host/cgroup/kubepods/poda/wire".into());
    assert_eq!(found(container(), "/").as_deref(), Some("/host/cgroup/kubepods/poda/wire"));
    assert_eq!(found(container(), "/../relay").as_deref(), Some("/host/cgroup/kubepods/poda/relay"));
    assert_eq!(found(container(), "/../../../../..").as_deref(), None);
}

#[test]
fn what_a_process_says_of_itself_is_taken_off_its_directory() {
    let own = Path::new("/host/cgroup/kubepods/poda/wire/inner");
    assert_eq!(without(own, "/inner"), Path::new("/host/cgroup/kubepods/poda/wire"));
    assert_eq!(without(own, "/"), own);
}
