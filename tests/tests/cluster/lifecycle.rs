//! The mesh comes, is upgraded and goes: policy holds while it is there, and nothing of it stays.

mod kernel;

use std::{path::Path, process::Command};

use mesh_tests::cluster::{Image, pack};

use crate::{
    here::{Here, program, rendered, until},
    scene::{ECHO, run},
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
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

fn load_echo() {
    let image = Image::of_program(ECHO, Path::new(env!("CARGO_BIN_EXE_mesh-echo"))).expect("an image");
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("echo.tar");
    pack(&image, &archive).expect("an archive");
    run(&["load", archive.to_str().expect("text")]);
}

/// Waits for every pod of the mesh.
fn rolled_out(here: &Here, what: &[&str]) {
    for one in what {
        here.ask(&["rollout", "status", "--namespace", MESH, one, "--timeout=120s"]);
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
    until(|| match call(here) {
        Ok(said) => Err(format!("the policy does not hold: {said}")),
        Err(said) if said.contains("ECONNREFUSED") || said.contains("ECONNRESET") => Ok(()),
        Err(said) => Err(format!("it fails, and not by the policy: {said}")),
    });
}

/// Every object of the cluster that bears the mesh's label or name.
fn objects(here: &Here) -> String {
    let kinds = "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
        validatingadmissionpolicybindings,customresourcedefinitions";
    let labelled = ["get", kinds, "--selector=app.kubernetes.io/part-of=mesh", "--output=name"];
    let definitions = here.ask(&["get", "customresourcedefinitions", "--output=name"]);
    let ours = definitions.lines().filter(|line| line.ends_with(".mesh.internal"));
    ours.fold(here.ask(&labelled), |all, line| all + line + "\n")
}

#[test]
#[ignore = "brings a Kubernetes up: cargo xtask cluster check"]
fn the_mesh_is_installed_upgraded_and_uninstalled_without_a_trace() {
    let here = Here::with_nodes("2");
    assert_eq!(objects(&here), "", "the mesh is installed here already");
    for tag in [CHART, "next"] {
        load(tag);
    }
    load_echo();

    here.apply(&rendered(&[]), &[]);
    rolled_out(&here, &["deployment/mesh-control", "daemonset/mesh-agent"]);
    here.apply(PODS, &[]);
    let pods = ["wait", "--namespace", BANK, "pod", "--all", "--timeout=60s"];
    here.ask(&[&pods[..], &["--for=condition=Ready"]].concat());
    here.ask(&[&pods[..], &["--for=condition=mesh.internal/Enrolled"]].concat());
    is_refused(&here);

    here.apply(&rendered(&["--set", "images.tag=next"]), &[]);
    rolled_out(&here, &["deployment/mesh-control", "daemonset/mesh-agent"]);
    let images = "--output=jsonpath={.items[*].spec.containers[*].image}";
    let images =
        here.ask(&["get", "pods", "--namespace", MESH, "--field-selector=status.phase=Running", images]);
    assert!(images.split_whitespace().all(|image| image.ends_with(":next")), "{images}");
    is_refused(&here);

    let held = Held::now(&here, MESH);
    let uninstall = |more: &[&str]| {
        let mut command = program("meshctl");
        command.args(["uninstall", "--set", "images.tag=next"]).args(more);
        String::from_utf8(command.output().expect("meshctl runs").stdout).expect("text")
    };
    here.apply(&uninstall(&[]), &[]);
    rolled_out(&here, &["daemonset/mesh-agent"]);
    until(|| match held.left() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left in the kernel: {}", left.join(", "))),
    });
    // Without the mesh there is no policy.
    until(|| call(&here).map(drop));
    let folders = here.folders();
    assert!(!folders.is_empty(), "the nodes' folders are not found");
    for directory in folders {
        let left: Vec<_> = std::fs::read_dir(&directory).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{}: {left:?}", directory.display());
    }

    let delete = ["delete", "--ignore-not-found", "--timeout=120s", "--filename=-"];
    here.kubectl.run_with(&delete, &uninstall(&["--objects"])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(objects(&here), "");
    // What ran goes on, as it was.
    call(&here).unwrap();
    let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(here.ask(&["get", "pods", "--namespace", BANK, restarts]), "0 0");
    here.ask(&["delete", "namespace", "--wait=false", BANK]);
}
