//! The removal: nothing of the mesh stays in the kernel, and the pods go on as if it had never been there.

use std::process::Command;

use mesh_tests::testbed::Part;

use super::{
    kernel::Held,
    scene::{self, NODE},
    start, turn, without,
};

#[test]
fn uninstall_leaves_no_program_no_link_no_map_and_no_pin() {
    let _turn = turn();
    let bed = start("uninstall");
    let held = Held::now(&bed);
    assert!(held.programs.len() > 10 && held.links.len() > 10 && held.maps.len() > 10, "{held:?}");
    let node = bed.node(NODE);
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("mesh-agent");
    let uninstall = || {
        let mut command = Command::new(&program);
        command.arg("uninstall").arg("--pin-root").arg(&node.pins).arg("--cgroup-root").arg(&node.cgroup);
        command.output().unwrap()
    };
    let refused = uninstall();
    assert!(!refused.status.success(), "it must not take the pins from under a running wire");
    assert!(node.pins.is_dir());

    let _gone = without(&bed, &[Part::Relay, Part::Wire]);
    // A killed wire holds its pins until the kernel has closed its files.
    bed.wait_for("the removal", scene::SOON, || {
        let output = uninstall();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
    .unwrap();
    assert!(!node.pins.exists(), "{} is left", node.pins.display());
    bed.wait_for("the kernel to let go", scene::SOON, || {
        let left = held.left();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    })
    .unwrap();
    // Without the mesh there is no policy.
    scene::dial(&bed, "foe", scene::port_of(&bed, "server")).unwrap();
}
