//! Where a test runs: at the API server or the cluster that `KUBECONFIG` names, or at one of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::cluster::{Kubectl, Place, Running};

use crate::{objects::server::ApiServer, scene::Cluster};

/// How long the API server may take to heed a new role, policy or MeshConfig.
const PATIENCE: Duration = Duration::from_secs(30);

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// An API server.
pub(crate) struct Here {
    /// kubectl for it, as its administrator.
    pub(crate) kubectl: Kubectl,
    _kept: Kept,
}

/// What lasts as long as the test.
enum Kept {
    Nothing,
    Server { _server: ApiServer },
    Cluster { _cluster: Cluster },
}

impl Here {
    /// The one that `KUBECONFIG` names, or one without nodes.
    pub(crate) fn any() -> Self {
        Self::named().unwrap_or_else(Self::alone)
    }

    /// One of its own, where nobody is but who puts roles together.
    pub(crate) fn alone() -> Self {
        let mut server = ApiServer::start();
        let kubectl = server.kubectl.clone();
        let program = Path::new(kubectl.command().get_program()).with_file_name("kube-controller-manager");
        let arguments = [
            format!("--kubeconfig={}", server.path("kubeconfig").display()),
            "--controllers=clusterrole-aggregation-controller".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        server.spawn(&program, &arguments);
        Self { kubectl, _kept: Kept::Server { _server: server } }
    }

    /// The one that `KUBECONFIG` names, or one with so many nodes.
    pub(crate) fn with_nodes(nodes: &str) -> Self {
        Self::named().unwrap_or_else(|| {
            let cluster = Cluster::up(&["--nodes", nodes]);
            Self { kubectl: cluster.kubectl.clone(), _kept: Kept::Cluster { _cluster: cluster } }
        })
    }

    fn named() -> Option<Self> {
        let named = env::var_os("KUBECONFIG").filter(|named| !named.is_empty())?;
        let kubectl = Kubectl::new(&Place::new(&target()), Path::new(&named));
        Some(Self { kubectl, _kept: Kept::Nothing })
    }

    /// Where the mesh has files on nodes that are machines of this one: its run directories and its pins.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let Ok(running) = Running::attach(&target()) else { return Vec::new() };
        let of = |node: String| {
            let kubelet = running.process(&node, "kubelet", &[]).expect("a kubelet on every node");
            [running.run(&node, "mesh"), format!("/proc/{kubelet}/root/sys/fs/bpf/mesh").into()]
        };
        running.nodes().into_iter().flat_map(of).collect()
    }

    /// kubectl's answer.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        self.kubectl.run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Applies as an upgrade would: unknown and doubled fields are errors.
    pub(crate) fn apply(&self, manifest: &str, more: &[&str]) {
        let strictly = ["apply", "--server-side", "--validate=strict", "--filename=-"];
        let arguments = [&strictly, more].concat();
        self.kubectl.run_with(&arguments, manifest).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A program of the workspace, built with the tests.
pub(crate) fn program(name: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_mesh-cluster")).with_file_name(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    Command::new(path)
}

/// The values that the chart is tried with.
pub(crate) fn choices() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/ci");
    let files = fs::read_dir(&folder).expect("the chart's choices");
    let files: Vec<_> = files.map(|entry| entry.expect("a file").path()).collect();
    assert!(files.len() > 1, "{} has nothing to choose", folder.display());
    files
}

/// What `meshctl install` prints.
pub(crate) fn rendered(arguments: &[&str]) -> String {
    let output = program("meshctl").arg("install").args(arguments).output().expect("meshctl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "meshctl install {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// Tries until it succeeds.
pub(crate) fn until(attempt: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return,
            Err(said) if start.elapsed() > PATIENCE => panic!("{said}"),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}
