//! Where a test runs: at the API server or the cluster that `KUBECONFIG` names, or at one of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use mesh_tests::cluster::{
    Kubectl, Place, Running,
    trial::{TIMEOUT, program, run, target, workspace},
};

use crate::{
    scene::{Cluster, Turn, turn},
    server::ApiServer,
};

/// An API server.
pub(crate) struct Here {
    /// kubectl for it, as its administrator.
    pub(crate) kubectl: Kubectl,
    kept: Kept,
}

/// What lasts as long as the test.
enum Kept {
    /// It was there, and stays.
    Named {
        _turn: Turn,
    },
    Server {
        _server: ApiServer,
    },
    Cluster {
        _cluster: Cluster,
    },
}

impl Here {
    /// The one that `KUBECONFIG` names, or one without nodes.
    pub(crate) fn any() -> Self {
        Self::named().unwrap_or_else(Self::alone)
    }

    /// One of its own, where nobody is but who puts roles together.
    pub(crate) fn alone() -> Self {
        Self::of(ApiServer::start())
    }

    /// This one, and who puts roles together.
    pub(crate) fn of(mut server: ApiServer) -> Self {
        let kubectl = server.kubectl.clone();
        let program = Path::new(kubectl.command().get_program()).with_file_name("kube-controller-manager");
        let arguments = [
            format!("--kubeconfig={}", server.path("kubeconfig").display()),
            "--controllers=clusterrole-aggregation-controller".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        server.spawn(&program, &arguments);
        Self { kubectl, kept: Kept::Server { _server: server } }
    }

    /// The one that `KUBECONFIG` names, or one with nodes, brought up with these arguments.
    pub(crate) fn with_nodes(arguments: &[&str]) -> Self {
        Self::named().unwrap_or_else(|| {
            let cluster = Cluster::up(arguments);
            Self { kubectl: cluster.kubectl.clone(), kept: Kept::Cluster { _cluster: cluster } }
        })
    }

    fn named() -> Option<Self> {
        let named = env::var_os("KUBECONFIG").filter(|named| !named.is_empty())?;
        let kubectl = Kubectl::new(&Place::new(&target()), Path::new(&named));
        Some(Self { kubectl, kept: Kept::Named { _turn: turn() } })
    }

    /// Every object of it that bears the mesh's label or name.
    pub(crate) fn objects_of_the_mesh(&self) -> String {
        let kinds = "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
            validatingadmissionpolicybindings,customresourcedefinitions";
        let labelled = ["get", kinds, "--selector=app.kubernetes.io/part-of=mesh", "--output=name"];
        let definitions = self.ask(&["get", "customresourcedefinitions", "--output=name"]);
        let ours = definitions.lines().filter(|line| line.ends_with(".mesh.internal"));
        ours.fold(self.ask(&labelled), |all, line| all + line + "\n")
    }

    /// The same, if the mesh is not installed there: what others installed is not touched.
    pub(crate) fn without_mesh(self) -> Self {
        assert_eq!(self.objects_of_the_mesh(), "", "the mesh is installed here already");
        self
    }

    /// Deletes these objects when the returned value goes, where the API server stays.
    pub(crate) fn for_now(&self, manifest: String) -> ForNow<'_> {
        ForNow { here: self, manifest }
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

/// Objects that a test made.
pub(crate) struct ForNow<'a> {
    here: &'a Here,
    manifest: String,
}

impl Drop for ForNow<'_> {
    fn drop(&mut self) {
        if !matches!(self.here.kept, Kept::Named { .. }) {
            return;
        }
        let delete = ["delete", "--ignore-not-found", TIMEOUT, "--filename=-"];
        if let Err(error) = self.here.kubectl.run_with(&delete, &self.manifest) {
            eprintln!("objects of the test stay: {error}");
        }
    }
}

/// The values that the chart is tried with.
pub(crate) fn choices() -> Vec<PathBuf> {
    let folder = workspace().join("deploy/chart/ci");
    let files = fs::read_dir(&folder).expect("the chart's choices");
    let files: Vec<_> = files.map(|entry| entry.expect("a file").path()).collect();
    assert!(files.len() > 1, "{} has nothing to choose", folder.display());
    files
}

/// What `meshctl install` prints.
pub(crate) fn rendered(arguments: &[&str]) -> String {
    run(program("meshctl").arg("install").args(arguments))
}
