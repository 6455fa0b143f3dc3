//! The mesh comes to nodes that wait for it, is upgraded and goes: policy holds while it is there, also where kube-proxy is in
//! iptables mode, and nothing of it stays.

mod kernel;
mod tainted;

use std::process::Command;

use mesh_tests::cluster::{
    Running, outside,
    trial::{TIMEOUT, program, target, until, workspace},
};

use crate::{
    here::{Here, rendered},
    scene::{ECHO, load_echo, run},
};
use kernel::Held;

const MESH: &str = "mesh-system";
/// Where the pods are that are in the mesh.
const BANK: &str = "lifecycle";
const CHART: &str = env!("CARGO_PKG_VERSION");

/// Two pods on two nodes, if there are two, and a policy that lets nobody in.
const PODS: &str = include_str!("lifecycle/pods.yaml");

/// Loads the images of agent and controller, as `cargo xtask images --profile dev` has them, under a tag.
fn load(tag: &str) {
    let root = workspace();
    let programs = root.join("target/images/dev/programs");
    assert!(programs.is_dir(), "the images' programs are not there: cargo xtask images --profile dev");
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("image.tar");
    for name in ["mesh-agent", "mesh-control"] {
        let mut pack = Command::new(env!("CARGO_BIN_EXE_mesh-image"));
        pack.arg("--containerfile").arg(root.join(format!("deploy/images/{name}.Containerfile")));
        pack.arg("--context").arg(&root).arg("--programs").arg(&programs).arg("--libraries");
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        pack.args(["--architecture", architecture, "--name", &format!("mesh.internal/{name}:{tag}")]);
        assert!(pack.arg(&archive).status().expect("mesh-image runs").success());
        run(&["load", archive.to_str().expect("text")]);
    }
}

/// Waits for every pod of the mesh.
fn rolled_out(here: &Here, what: &[&str]) {
    for one in what {
        here.ask(&["rollout", "status", "--namespace", MESH, one, TIMEOUT]);
    }
}

/// A new connection from the client to the server.
fn call(here: &Here) -> Result<String, String> {
    let server =
        here.ask(&["get", "pod", "server", "--namespace", BANK, "--output=jsonpath={.status.podIP}"]);
    let call = ["exec", "--namespace", BANK, "client", "--", "mesh-echo", "client", "tcp", "-4"];
    let destination = format!("{server}:9000");
    let mut command = here.kubectl.command();
    let output = command.args(call).arg(&destination).output().expect("kubectl runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}

fn is_refused(here: &Here) {
    until("the policy to hold", || match call(here) {
        Ok(said) => Err(format!("the policy does not hold: {said}")),
        Err(said) if said.contains("ECONNREFUSED") || said.contains("ECONNRESET") => Ok(()),
        Err(said) => Err(format!("it fails, and not by the policy: {said}")),
    });
}

#[test]
#[ignore = "brings a Kubernetes up: cargo xtask cluster check"]
fn the_mesh_is_installed_upgraded_and_uninstalled_without_a_trace() {
    let here = Here::with_nodes(&["--nodes", "2", "--proxy", "iptables"]).without_mesh();
    for tag in [CHART, "next"] {
        load(tag);
    }
    load_echo();

    let early = tainted::Nodes::waiting(&here, BANK);
    here.apply(&rendered(&[]), &[]);
    rolled_out(&here, &["deployment/mesh-control", "daemonset/mesh-agent"]);
    early.come();
    here.apply(PODS, &[]);
    let pods = ["wait", "--namespace", BANK, "pod", "--all", TIMEOUT];
    here.ask(&[&pods[..], &["--for=condition=Ready"]].concat());
    here.ask(&[&pods[..], &["--for=condition=mesh.internal/Enrolled"]].concat());
    is_refused(&here);
    outside::comes_in_where_no_proof_is_asked_for(&Running::attach(&target()).expect("it is up"), ECHO);

    here.apply(&rendered(&["--set", "images.tag=next"]), &[]);
    rolled_out(&here, &["deployment/mesh-control", "daemonset/mesh-agent"]);
    // Those from before have their time to end.
    let images =
        ["get", "pods", "--namespace", MESH, "--output=jsonpath={.items[*].spec.containers[*].image}"];
    until("every pod of the mesh to be the next one", || {
        let images = here.ask(&images);
        let are_next = images.split_whitespace().all(|image| image.ends_with(":next"));
        if are_next { Ok(()) } else { Err(images) }
    });
    is_refused(&here);

    let held = Held::now(&here, MESH);
    let uninstall = |more: &[&str]| {
        let mut command = program("meshctl");
        command.args(["uninstall", "--set", "images.tag=next"]).args(more);
        String::from_utf8(command.output().expect("meshctl runs").stdout).expect("text")
    };
    here.apply(&uninstall(&[]), &[]);
    rolled_out(&here, &["daemonset/mesh-agent"]);
    until("the kernel to hold nothing", || match held.left() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left in the kernel: {}", left.join(", "))),
    });
    // Without the mesh there is no policy.
    until("the server to be open", || call(&here).map(drop));
    let folders = here.folders();
    assert!(!folders.is_empty(), "the nodes' folders are not found");
    for directory in folders {
        until("the nodes' folders to be empty", || {
            let left: Vec<_> = std::fs::read_dir(&directory).into_iter().flatten().flatten().collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{}: {left:?}", directory.display())) }
        });
    }

    let delete = ["delete", "--ignore-not-found", TIMEOUT, "--filename=-"];
    here.kubectl.run_with(&delete, &uninstall(&["--objects"])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(here.objects_of_the_mesh(), "");
    // What ran goes on, as it was.
    until("the server to be open", || call(&here).map(drop));
    let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(here.ask(&["get", "pods", "--namespace", BANK, restarts]), "0 0 0");
    here.ask(&["delete", "namespace", "--wait=false", BANK, "outside"]);
}
