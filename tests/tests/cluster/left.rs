//! Nothing of a cluster stays, however its end came.

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use mesh_tests::cluster::trial::until;

use crate::{
    scene::{Cluster, command, run, turn},
    traffic::pods_services_and_names,
};

/// Everything on this machine that can only be a cluster's: what bears its name or is one of its programs.
fn traces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["/run", "/run/netns", "/sys/class/net", "/var/run/netns", "/var/lib"] {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let ours = names.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            ["mesh-cluster", "cni-", "containerd", "kubelet", "etcd"]
                .iter()
                .any(|start| name.starts_with(start))
        });
        found.extend(ours.map(|entry| entry.path().display().to_string()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    found.extend(mounts.lines().filter(|line| line.contains("mesh-cluster")).map(str::to_owned));
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let folder = Path::new(line.split(' ').nth(4).expect("a mount point")).join("mesh-cluster");
        found.extend(folder.exists().then(|| folder.display().to_string()));
    }
    for process in fs::read_dir("/proc").expect("processes").flatten() {
        let Ok(name) = fs::read_to_string(process.path().join("comm")) else { continue };
        let starts = ["etcd", "kube", "containerd", "coredns", "pause", "mesh-cluster", "runc"];
        if starts.iter().any(|start| name.starts_with(start)) && !is_of_another_test(&process.path()) {
            found.insert(format!("{} {}", process.path().display(), name.trim()));
        }
    }
    found
}

/// Whether a process was started by this program, and not by one that has ended since: the API server of another test.
fn is_of_another_test(process: &Path) -> bool {
    let ours = std::process::id();
    let parent = |process: &Path| -> Option<u32> {
        let status = fs::read_to_string(process.join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    std::iter::successors(parent(process), |pid| parent(&Path::new("/proc").join(pid.to_string())))
        .any(|pid| pid == ours)
}

/// Settings of the kernel that are the whole machine's, and that kubelet or kube-proxy would like to change.
fn settings() -> Vec<String> {
    let all = [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "net/ipv4/ip_forward",
        "net/netfilter/nf_conntrack_max",
    ];
    let read = |setting| fs::read_to_string(Path::new("/proc/sys").join(setting)).unwrap_or_default();
    all.iter().map(|setting| format!("{setting} {}", read(setting))).collect()
}

/// Waits for the kernel to bury what was killed.
fn assert_nothing(before: &BTreeSet<String>) {
    until("nothing to be left", || {
        let left: BTreeSet<_> = traces().difference(before).cloned().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left: {left:#?}")) }
    });
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn a_cluster_with_nftables_works_and_down_leaves_nothing_of_it() {
    let turn = turn();
    run(&["down"]);
    let (before, were) = (traces(), settings());
    let cluster = Cluster::up_in(turn, &["--nodes", "2", "--proxy", "nftables"]);
    assert!(traces().len() > before.len() + 10, "the test sees no cluster");
    pods_services_and_names(&cluster);
    assert_eq!(settings(), were);
    run(&["down"]);
    assert_nothing(&before);
    // Nothing to do is no failure.
    run(&["down"]);
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn down_leaves_nothing_of_an_up_that_was_killed() {
    let _turn = turn();
    run(&["down"]);
    let before = traces();
    for moment in [100, 700, 3000, 8000] {
        let mut up = command(&["up"]).spawn().expect("mesh-cluster runs");
        thread::sleep(Duration::from_millis(moment));
        up.kill().expect("it was running");
        up.wait().expect("it ended");
        run(&["down"]);
        assert_nothing(&before);
    }
}
