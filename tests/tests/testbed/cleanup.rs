//! Nothing is left, however a testbed ends, and two do not disturb each other.

use std::{path::Path, process::Command};

use mesh_tests::{
    layout::Layout,
    testbed::{Error, Testbed},
};

use super::{SOON, printed};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: n}\nspec: {nodeName: one, containers: [{name: c, command: [mesh-echo, server, --tcp=7000]}]}\n";

/// What there is of a testbed.
fn traces(layout: &Layout) -> Vec<String> {
    let places = [
        layout.run(),
        layout.cgroup(),
        layout.pins(),
        Path::new("/run/netns").join(layout.fabric_netns()),
        layout.node("one").netns(),
    ];
    places.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

#[test]
fn an_ended_testbed_leaves_nothing() {
    let testbed = Testbed::builder().manifest(POD).mesh(false).start().unwrap();
    testbed.wait_ready("n", "a", SOON).unwrap();
    let layout = testbed.layout().clone();
    assert!(traces(&layout).len() >= 4, "{:?}", traces(&layout));
    drop(testbed);
    assert_eq!(traces(&layout), Vec::<String>::new());
}

#[test]
fn a_panicking_test_leaves_nothing() {
    let name = format!("panic-{}", std::process::id());
    let layout = Layout::new(&name).unwrap();
    let test = std::thread::spawn(move || {
        let testbed = Testbed::builder().name(name).manifest(POD).mesh(false).start().unwrap();
        testbed.wait_ready("n", "a", SOON).unwrap();
        panic!("as a failing test does");
    });
    assert!(test.join().is_err());
    assert_eq!(traces(&layout), Vec::<String>::new());
}

#[test]
fn a_killed_run_is_removed_by_the_next_start_of_any() {
    let killed = Testbed::builder().manifest(POD).mesh(false).start().unwrap();
    killed.wait_ready("n", "a", SOON).unwrap();
    assert!(!traces(killed.layout()).is_empty());
    let layout = killed.kill_supervisor().unwrap();
    let one = Testbed::builder().manifest(POD).mesh(false).start().unwrap();
    assert_eq!(traces(&layout), Vec::<String>::new());
    let two = Testbed::builder().manifest(POD).mesh(false).start().unwrap();
    let (first, second) = (one.wait_ready("n", "a", SOON).unwrap(), two.wait_ready("n", "a", SOON).unwrap());
    assert_ne!(first.ip4, second.ip4, "each has addresses of its own");
    two.wait_serving("n", "a", SOON).unwrap();
    drop(one);
    let text = printed(
        &two.exec("n", "a", &["mesh-echo", "client", "tcp", &format!("{}:7000", second.ip4.unwrap())])
            .unwrap(),
    );
    assert!(text.contains("host=a"), "the other goes on: {text}");
}

#[test]
fn a_name_is_taken_once_and_errors_are_told() {
    let testbed = Testbed::builder().manifest(POD).mesh(false).start().unwrap();
    let name = testbed.layout().name().to_owned();
    let taken = Testbed::builder().name(name).manifest(POD).mesh(false).start();
    assert!(matches!(&taken, Err(Error::Start { log, .. }) if log.contains("is up already")), "{taken:?}");

    let unknown = "apiVersion: example.org/v1\nkind: Gizmo\nmetadata: {name: g}\n";
    let image_only = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: nginx, image: nginx}]}\n";
    let refused = Testbed::builder().manifest(unknown).manifest(image_only).mesh(false).start();
    let Err(Error::Start { log, .. }) = refused else { panic!("{refused:?}") };
    for said in ["Gizmo", "default/web", "spec.containers[nginx].command"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn the_commands_bring_one_up_reach_in_and_take_it_down() {
    let name = format!("cli-{}", std::process::id());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pod.yaml"), POD).unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_mesh-testbed")).args(arguments).output().unwrap()
    };
    let up =
        printed(&run(&["up", "--name", &name, "--no-mesh", "--config", directory.path().to_str().unwrap()]));
    assert!(up.contains("Running"), "{up}");
    assert_eq!(printed(&run(&["exec", "--name", &name, "-n", "n", "a", "--", "hostname"])), "a\n");
    let failing = run(&["exec", "--name", &name, "-n", "n", "a", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failing.status.code(), Some(7));
    assert!(printed(&run(&["down", "--name", &name])).contains("is down"));
    assert_eq!(traces(&Layout::new(&name).unwrap()), Vec::<String>::new());
}
