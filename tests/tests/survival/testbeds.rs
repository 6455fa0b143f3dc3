//! Testbeds beside and after each other (DESIGN 6): they share a kernel and nothing else.

use std::process::Command;

use mesh_tests::{cgroup, layout::Layout};

use super::{enforced, scene, start, thousand_connections, turn};
use scene::{NAMESPACE, SOON, counts::eventually, dial, manifest::policy, port_of};

#[test]
fn two_testbeds_at_once_do_not_see_each_other() {
    let _turn = turn();
    let (left, right) = (start("left"), start("right"));
    assert_ne!(port_of(&left, "server"), port_of(&right, "server"), "each has addresses of its own");
    left.apply(&policy("server", "ingress: [{name: anyone}]")).unwrap();
    eventually(&left, "the left one to admit the foe", SOON, || dial(&left, "foe", port_of(&left, "server")));
    enforced(&right).unwrap();
    drop(left);
    thousand_connections(&right);
}

/// Everything of a testbed that outlives its processes.
fn remains(layout: &Layout) -> Vec<String> {
    let mut left: Vec<String> = [layout.run(), layout.cgroup(), layout.pins()]
        .iter()
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    let handles = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let handles = String::from_utf8_lossy(&handles.stdout).into_owned();
    let ours = layout.fabric_netns();
    let is_ours = |name: &&str| *name == ours || name.starts_with(&format!("{ours}."));
    left.extend(
        handles.lines().filter_map(|line| line.split_whitespace().next()).filter(is_ours).map(str::to_owned),
    );
    left
}

#[test]
fn a_testbed_that_is_killed_is_cleaned_up_by_the_next_one() {
    let _turn = turn();
    let killed = start("killed");
    let node = killed.node(scene::NODE);
    let pod = killed.pod(NAMESPACE, "server").unwrap();
    let held = super::kernel::Held::now(&killed);
    let there = remains(killed.layout());
    assert!(there.len() >= 4, "a testbed has what a killed one leaves behind: {there:?}");
    let layout = killed.kill_supervisor().unwrap();

    // Or one of another test program that starts in this moment.
    let next = start("next");
    assert_eq!(remains(&layout), Vec::<String>::new());
    assert!(
        cgroup::processes(&node.agent_cgroup()).is_empty()
            && cgroup::processes(&pod.cgroup.join("main")).is_empty()
    );
    eventually(&next, "the kernel to let go of the killed one's programs", SOON, || {
        let left = held.left();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    enforced(&next).unwrap();
}
