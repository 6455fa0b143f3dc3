//! The cluster of the workspace, up for as long as a test lasts.

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mesh_tests::cluster::{
    Image, Kubectl, Place, pack,
    trial::{target, until},
};

/// The image of the test program.
pub(crate) const ECHO: &str = "mesh.internal/echo:test";

/// Held by the test that has the machine's one cluster.
pub(crate) type Turn = MutexGuard<'static, ()>;

/// Waits for its turn. A test that failed has taken its cluster down.
pub(crate) fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `mesh-cluster` with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-cluster"));
    command.arg("--target").arg(target()).args(arguments).env_remove("KUBECONFIG");
    command
}

/// Runs it and gives what it prints.
pub(crate) fn run(arguments: &[&str]) -> String {
    mesh_tests::cluster::trial::run(&mut command(arguments))
}

/// Brings the test program's image to the cluster's nodes.
pub(crate) fn load_echo() {
    let image = Image::of_program(ECHO, Path::new(env!("CARGO_BIN_EXE_mesh-echo"))).expect("an image");
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("echo.tar");
    pack(&image, &archive).expect("an archive");
    run(&["load", archive.to_str().expect("text")]);
}

/// A cluster that is up.
pub(crate) struct Cluster {
    /// kubectl for it.
    pub(crate) kubectl: Kubectl,
    /// Last: it is down before another one comes.
    _turn: Turn,
}

impl Cluster {
    /// Brings one up with the test program's image on its nodes, when it is its turn.
    pub(crate) fn up(arguments: &[&str]) -> Self {
        Self::up_in(turn(), arguments)
    }

    /// The same for who has the turn.
    pub(crate) fn up_in(turn: Turn, arguments: &[&str]) -> Self {
        let cluster = Self { kubectl: Place::new(&target()).kubectl(), _turn: turn };
        println!("{}", run(&[&["up"], arguments].concat()));
        load_echo();
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
        until(&format!("{pod} to {destination}"), || {
            self.kubectl.run(&call).map_err(|error| error.to_string())
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = command(&["down"]).status();
    }
}
