//! The cluster of the workspace, up for as long as a test lasts.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use mesh_tests::cluster::{Image, Kubectl, Place, pack};

/// The image of the test program.
pub(crate) const ECHO: &str = "mesh.internal/echo:test";

/// How long a change may take to be everywhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// The workspace's target directory, where the cluster's programs are.
fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join("target")
}

/// `mesh-cluster` with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-cluster"));
    command.arg("--target").arg(target()).args(arguments).env_remove("KUBECONFIG");
    command
}

/// Runs it and shows what it says if it fails.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let output = command(arguments).output().expect("mesh-cluster runs");
    assert!(
        output.status.success(),
        "mesh-cluster {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A cluster that is up.
pub(crate) struct Cluster {
    /// kubectl for it.
    pub(crate) kubectl: Kubectl,
}

impl Cluster {
    /// Brings one up with the test program's image on its nodes.
    pub(crate) fn up(arguments: &[&str]) -> Self {
        let output = run(&[&["up"], arguments].concat());
        println!("{}", String::from_utf8_lossy(&output.stdout));
        let place = Place::new(&target());
        let cluster = Self { kubectl: Kubectl::new(&place, &place.kubeconfig()) };
        let image = Image::of_program(ECHO, Path::new(env!("CARGO_BIN_EXE_mesh-echo"))).expect("an image");
        let archive = tempfile::tempdir().expect("a folder");
        let archive = archive.path().join("echo.tar");
        pack(&image, &archive).expect("an archive");
        run(&["load", archive.to_str().expect("text")]);
        cluster
    }

    /// kubectl's answer.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        self.kubectl.run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a call from a pod gave. It must succeed in the end: kube-proxy and the DNS learn of a change after the API
    /// server has told of it.
    pub(crate) fn call(&self, pod: &str, protocol: &str, family: &str, destination: &str) -> String {
        let call = ["exec", pod, "--", "mesh-echo", "client", protocol, family, destination];
        let start = Instant::now();
        loop {
            match self.kubectl.run(&call) {
                Ok(answer) => return answer,
                Err(error) if start.elapsed() > PATIENCE => panic!("{pod} to {destination}: {error}"),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = command(&["down"]).status();
    }
}
