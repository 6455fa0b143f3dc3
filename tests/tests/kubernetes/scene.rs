//! The cluster with the mesh installed, for all tests of the program.

use std::{path::Path, process::Output, sync::OnceLock};

use mesh_tests::cluster::{
    ClusterPod, Image, Running,
    trial::{TIMEOUT, program, run, target, until},
};

/// The image of the pods: `mesh-echo` and `mesh-demo`.
pub(crate) const IMAGE: &str = "mesh.internal/kubernetes:test";

/// Where the mesh is.
pub(crate) const MESH: &str = "mesh-system";

/// How long the agents let open connections finish: long enough to be seen, and to wait for twice.
const DRAIN: &str = "agent.drainSeconds=10";

/// The mesh on its cluster.
pub(crate) struct Mesh {
    /// The cluster.
    pub(crate) cluster: Running,
}

/// Brings it up where it is not, and installs the mesh.
pub(crate) fn mesh() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    MESH.get_or_init(Mesh::install)
}

impl Mesh {
    fn install() -> Self {
        let cluster = Running::attach(&target()).unwrap_or_else(|_| {
            run(program("mesh-cluster").arg("--target").arg(target()).args(["up", "--nodes", "2"]));
            Running::attach(&target()).expect("it is up")
        });
        let mesh = Self { cluster };
        let mut image =
            Image::of_program(IMAGE, Path::new(env!("CARGO_BIN_EXE_mesh-echo"))).expect("an image");
        let demo = Path::new(env!("CARGO_BIN_EXE_mesh-demo"));
        image.files.push((demo.to_owned(), "/usr/bin/mesh-demo".into()));
        image.take_libraries(demo);
        mesh.cluster.load(&image).expect("the image is loaded");
        if mesh.try_ask(&["get", "--namespace", MESH, "daemonset/mesh-agent"]).is_err() {
            for name in ["mesh-agent", "mesh-control"] {
                let archive = target().join(format!("images/dev/{name}-amd64.tar"));
                run(program("mesh-cluster").arg("--target").arg(target()).arg("load").arg(archive));
            }
            let objects = run(program("meshctl").args(["install", "--set", DRAIN]));
            let strictly = ["apply", "--server-side", "--validate=strict", "--filename=-"];
            mesh.cluster.kubectl().run_with(&strictly, &objects).expect("every object is accepted");
        }
        for what in ["deployment/mesh-control", "daemonset/mesh-agent"] {
            mesh.ask(&["rollout", "status", "--namespace", MESH, what, TIMEOUT]);
        }
        mesh
    }

    /// kubectl's answer.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        self.try_ask(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, where it may fail.
    pub(crate) fn try_ask(&self, arguments: &[&str]) -> Result<String, String> {
        self.cluster.kubectl().run(arguments).map_err(|error| error.to_string())
    }

    /// Applies manifests in a namespace that goes when the returned value does.
    pub(crate) fn scene(&'static self, namespace: &str, manifests: &str) -> Scene {
        let scene = self.empty(namespace);
        self.cluster.kubectl().apply(manifests).unwrap_or_else(|error| panic!("{error}"));
        scene
    }

    /// A namespace that the test makes, and that goes when the returned value does.
    pub(crate) fn empty(&'static self, namespace: &str) -> Scene {
        Scene { mesh: self, namespace: namespace.to_owned() }
    }

    /// Replaces the MeshConfig.
    pub(crate) fn configure(&self, spec: &str) {
        let object = format!(
            "{{apiVersion: mesh.internal/v1alpha1, kind: MeshConfig, metadata: {{name: default}}, spec: {spec}}}"
        );
        self.cluster.kubectl().apply(&object).unwrap_or_else(|error| panic!("{error}"));
        self.ask(&["wait", "meshconfig/default", "--for=condition=Programmed", TIMEOUT]);
    }
}

/// A namespace and what is in it.
pub(crate) struct Scene {
    /// Where.
    pub(crate) mesh: &'static Mesh,
    /// Its name.
    pub(crate) namespace: String,
}

impl Scene {
    /// kubectl in the namespace.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        self.mesh.ask(&[&["--namespace", self.namespace.as_str()], arguments].concat())
    }

    /// Waits for a condition of something.
    pub(crate) fn wait(&self, what: &str, condition: &str) {
        self.ask(&["wait", what, &format!("--for={condition}"), TIMEOUT]);
    }

    /// Waits until a pod is ready and enrolled.
    pub(crate) fn wait_enrolled(&self, pod: &str) {
        self.wait(pod, "condition=Ready");
        self.wait(pod, "condition=mesh.internal/Enrolled");
    }

    /// A pod as it is now.
    pub(crate) fn pod(&self, name: &str) -> ClusterPod {
        let pods = self.mesh.cluster.pods().expect("the API server answers");
        let is_it = |pod: &ClusterPod| pod.namespace == self.namespace && pod.name == name;
        pods.into_iter().find(is_it).unwrap_or_else(|| panic!("no pod {name} in {}", self.namespace))
    }

    /// Runs a command in a pod.
    pub(crate) fn run(&self, pod: &str, argv: &[&str]) -> Output {
        self.mesh.cluster.command(&self.namespace, pod, argv).output().expect("kubectl runs")
    }

    /// Runs it and gives what it prints; it must succeed, in the end.
    pub(crate) fn answered(&self, pod: &str, argv: &[&str]) -> String {
        until(&format!("{argv:?} in {pod}"), || {
            let output = self.run(pod, argv);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() { Ok(said) } else { Err(said) }
        })
    }

    /// A value of an object.
    pub(crate) fn value(&self, object: &str, path: &str) -> String {
        self.ask(&["get", object, &format!("--output=jsonpath={path}")])
    }
}

impl Drop for Scene {
    /// It is gone soon after: no other test has a namespace of this name.
    fn drop(&mut self) {
        let deleting = ["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"];
        if let Err(error) = self.mesh.try_ask(&deleting) {
            eprintln!("namespace {} stays: {error}", self.namespace);
        }
    }
}
