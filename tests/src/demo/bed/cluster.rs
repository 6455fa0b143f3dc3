//! A real Kubernetes on which the mesh is installed: the services are applied to it as they are, and deleted after.
//!
//! What the testbed does by its supervisor is done here as an administrator of nodes and cluster would: containers
//! are killed on their node, and killed again when the kubelet starts them, the controller is scaled away.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{Bed, Pod, beside, tail, wait_for};
use crate::{
    capture::Capture,
    cluster::{ClusterPod, Image, Running},
    demo::{Error, stage::NODES},
    testbed::{self, Part, http},
};

/// Where the mesh is installed.
const SYSTEM: &str = "mesh-system";

/// The image that the manifests name.
const IMAGE: &str = "mesh.internal/demo:test";

/// The controller's Deployment.
const CONTROLLER: &str = "deployment/mesh-control";

/// Where the relay of a node serves metrics.
const METRICS_PORT: u16 = 15_020;

/// How long pods may take to be ready, and to go.
const PATIENCE: Duration = Duration::from_secs(180);

/// The cluster with the demo's services.
#[derive(Debug)]
pub(in crate::demo) struct OnCluster {
    cluster: Running,
    /// All that was applied.
    manifests: String,
    /// The namespaces of the services.
    namespaces: Vec<String>,
    held: Mutex<BTreeMap<String, Hold>>,
    replicas: Mutex<Option<u64>>,
}

impl OnCluster {
    /// Applies these objects, which name their namespaces first, and waits until every pod is ready.
    pub(in crate::demo) fn start(target: &Path, manifests: String) -> Result<Self, Error> {
        let cluster = Running::attach(target)?;
        cluster.load(&image()?)?;
        let namespaces = namespaces(&manifests)?;
        let bed = Self { cluster, manifests, namespaces, held: Mutex::default(), replicas: Mutex::default() };
        bed.kubectl(&["wait", "--for=create", "--timeout=30s", "-n", SYSTEM, "daemonset/mesh-agent"])?;
        bed.kubectl(&["rollout", "status", "--timeout=120s", "-n", SYSTEM, "daemonset/mesh-agent"])?;
        bed.apply(&bed.manifests)?;
        wait_for("all pods to be ready", PATIENCE, || {
            let pods = bed.pods().map_err(|error| error.to_string())?;
            let waiting: Vec<_> = pods.iter().filter(|pod| !pod.ready).map(|pod| pod.name.clone()).collect();
            if waiting.is_empty() && !pods.is_empty() { Ok(()) } else { Err(waiting.join(", ")) }
        })?;
        Ok(bed)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        Ok(self.cluster.kubectl().run(arguments)?)
    }

    /// The pod of the mesh on a node.
    fn mesh_pod(&self, node: &str) -> Result<ClusterPod, Error> {
        let of_mesh = |pod: &ClusterPod| {
            pod.namespace == SYSTEM && pod.node == node && pod.name.starts_with("mesh-agent-")
        };
        let found = self.cluster.pods()?.into_iter().find(of_mesh);
        found.ok_or_else(|| testbed::Error::NoAgent { node: node.to_owned(), part: "pod".to_owned() }.into())
    }

    fn log_of(&self, what: &str, container: &str) -> String {
        let asked = ["logs", "-n", SYSTEM, what, "-c", container, "--tail=6"];
        let text = self.kubectl(&asked).unwrap_or_else(|error| error.to_string());
        tail(&format!("{what} {container}"), &text)
    }
}

impl From<ClusterPod> for Pod {
    fn from(pod: ClusterPod) -> Self {
        let ClusterPod { namespace, name, uid, node, ready, addresses } = pod;
        Self { namespace, name, uid, node, ready, addresses }
    }
}

impl From<&Pod> for ClusterPod {
    fn from(pod: &Pod) -> Self {
        let Pod { namespace, name, uid, node, ready, addresses } = pod.clone();
        Self { namespace, name, uid, node, ready, addresses }
    }
}

impl Bed for OnCluster {
    fn described(&self) -> String {
        let version = self.kubectl(&["version", "--output=json"]).unwrap_or_default();
        let version: Value = serde_json::from_str(&version).unwrap_or_default();
        let version = version["serverVersion"]["gitVersion"].as_str().unwrap_or("?").to_owned();
        format!("Kubernetes {version} with {} nodes; the manifests as they are", self.cluster.nodes().len())
    }

    fn pods(&self) -> Result<Vec<Pod>, Error> {
        let mut pods = self.cluster.pods()?;
        pods.retain(|pod| self.namespaces.contains(&pod.namespace));
        Ok(pods.into_iter().map(Pod::from).collect())
    }

    fn netns(&self, pod: &Pod) -> Result<PathBuf, Error> {
        let found = self.cluster.pod_netns(&pod.into());
        found.ok_or_else(|| Error::Unexpected {
            program: format!("node {}", pod.node),
            said: format!("pod {}/{} has no process", pod.namespace, pod.name),
        })
    }

    fn mesh_state(&self, pod: &Pod) -> Result<Option<String>, Error> {
        // Of the pair's own directory, which only its pod sees.
        let relay = self.agent(&pod.node, Part::Relay)?;
        let socket = PathBuf::from(format!("/proc/{relay}/root/run/mesh-pod/admin.sock"));
        let connecting = Error::io(format!("connect to {}", socket.display()));
        let text = http::get(UnixStream::connect(&socket).map_err(connecting)?, "/pods")?;
        let pods: Vec<Value> = serde_json::from_str(&text).map_err(testbed::Error::from)?;
        let ours = pods.iter().find(|entry| entry["uid"] == pod.uid.as_str());
        Ok(ours.and_then(|entry| entry["state"].as_str()).map(str::to_owned))
    }

    fn command(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Command, Error> {
        Ok(self.cluster.command(namespace, pod, argv))
    }

    fn on_node(&self, node: &str, argv: &[&str]) -> Result<std::process::Output, Error> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.cluster.netns(node).display())).args(argv);
        command.output().map_err(Error::io("run nsenter"))
    }

    fn service_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>, Error> {
        let wanted = "--output=jsonpath={.spec.clusterIPs[*]}";
        let text = self.kubectl(&["get", "service", "--namespace", namespace, name, wanted])?;
        Ok(text.split_whitespace().filter_map(|address| address.parse().ok()).collect())
    }

    fn apply(&self, yaml: &str) -> Result<(), Error> {
        self.cluster.kubectl().apply(yaml)?;
        Ok(())
    }

    fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), Error> {
        let grace = if kind == "Pod" { "--grace-period=1" } else { "--wait=true" };
        self.kubectl(&["delete", kind, "--namespace", namespace, name, "--ignore-not-found", grace])?;
        Ok(())
    }

    fn give_next(&self, node: &str, addresses: &[IpAddr]) -> Result<(), Error> {
        // What the IPAM plugin host-local gave last: the one after it is next.
        for address in addresses {
            let (file, before) = match address {
                IpAddr::V4(v4) => ("last_reserved_ip.0", IpAddr::from((v4.to_bits() - 1).to_be_bytes())),
                IpAddr::V6(v6) => ("last_reserved_ip.1", IpAddr::from((v6.to_bits() - 1).to_be_bytes())),
            };
            let path = self.cluster.run(node, "cni/mesh-cluster").join(file);
            let writing = Error::io(format!("write {}", path.display()));
            fs::write(&path, before.to_string()).map_err(writing)?;
        }
        Ok(())
    }

    fn metrics(&self, node: &str) -> Result<String, Error> {
        let address = self.mesh_pod(node)?.addresses.into_iter().next();
        let address = address.ok_or_else(|| Error::Unexpected {
            program: format!("the mesh's pod on {node}"),
            said: "it has no address".to_owned(),
        })?;
        let stream = std::net::TcpStream::connect((address, METRICS_PORT));
        Ok(http::get(stream.map_err(Error::io(format!("connect to {address}:{METRICS_PORT}")))?, "/metrics")?)
    }

    fn access_log(&self, node: &str) -> Result<PathBuf, Error> {
        Ok(self.cluster.container_log(&self.mesh_pod(node)?, "relay")?)
    }

    fn agent(&self, node: &str, part: Part) -> Result<Pid, Error> {
        let found = self.cluster.process(node, "mesh-agent", &[&part.to_string()]);
        found.ok_or_else(|| testbed::Error::NoAgent { node: node.to_owned(), part: part.to_string() }.into())
    }

    fn hold_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        let pid = self.agent(node, part)?;
        kill(pid, Signal::SIGKILL).map_err(|errno| Error::io(format!("kill {pid}"))(errno.into()))?;
        let (cluster, at, word) = (self.cluster.clone(), node.to_owned(), part.to_string());
        let hold = Hold::on(move || cluster.process(&at, "mesh-agent", &[&word]));
        self.held.lock().expect("no holder panics").insert(format!("{part} {node}"), hold);
        Ok(())
    }

    fn release_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        self.held.lock().expect("no holder panics").remove(&format!("{part} {node}"));
        Ok(())
    }

    fn controller(&self) -> Result<Pid, Error> {
        let found = NODES
            .iter()
            .find_map(|node| self.cluster.process(node, "mesh-control", &["--source=kubernetes"]));
        found.ok_or_else(|| Error::Unexpected {
            program: "the cluster".to_owned(),
            said: "no controller runs".to_owned(),
        })
    }

    fn hold_controller(&self) -> Result<(), Error> {
        let asked = ["get", "-n", SYSTEM, CONTROLLER, "--output=jsonpath={.spec.replicas}"];
        let replicas = self.kubectl(&asked)?.trim().parse().ok();
        *self.replicas.lock().expect("no holder panics") = replicas;
        for _ in 0..replicas.unwrap_or(1) {
            let pid = self.controller()?;
            kill(pid, Signal::SIGKILL).map_err(|errno| Error::io(format!("kill {pid}"))(errno.into()))?;
        }
        self.kubectl(&["scale", "-n", SYSTEM, CONTROLLER, "--replicas=0"])?;
        Ok(())
    }

    fn release_controller(&self) -> Result<(), Error> {
        let replicas = self.replicas.lock().expect("no holder panics").take().unwrap_or(1);
        self.kubectl(&["scale", "-n", SYSTEM, CONTROLLER, &format!("--replicas={replicas}")])?;
        Ok(())
    }

    fn meshctl(&self) -> Result<Command, Error> {
        let mut command = Command::new(beside("meshctl")?);
        command.env("KUBECONFIG", self.cluster.kubeconfig()).env_remove("MESH_RUN_DIR");
        Ok(command)
    }

    fn capture(&self, limit: usize) -> Result<Capture, Error> {
        Ok(Capture::within(self.cluster.fabric(), limit)?)
    }

    fn change_within(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn logs(&self) -> String {
        let mut said = vec![self.log_of(CONTROLLER, "control")];
        for node in NODES {
            let name = self.mesh_pod(node).map(|pod| format!("pod/{}", pod.name)).unwrap_or_default();
            said.extend(["wire", "relay"].map(|container| self.log_of(&name, container)));
        }
        said.join("\n     ")
    }

    fn end(&mut self) {
        self.held.lock().expect("no holder panics").clear();
        let kubectl = self.cluster.kubectl();
        let deleting = ["delete", "--filename=-", "--ignore-not-found", "--wait=true", "--grace-period=1"];
        if let Err(error) = kubectl.run_with(&deleting, &self.manifests) {
            eprintln!("the demo's objects stay in the cluster: {error}");
        }
    }
}

/// What the services run: this program, `mesh-echo` and `mesh-http`.
fn image() -> Result<Image, Error> {
    let ours = std::env::current_exe().map_err(Error::io("find our own program"))?;
    let mut image = Image::of_program(IMAGE, &ours)?;
    for name in ["mesh-echo", "mesh-http"] {
        let program = beside(name)?;
        image.take_libraries(&program);
        image.files.push((program, format!("/usr/bin/{name}").into()));
    }
    image.entrypoint = vec!["mesh-echo".to_owned()];
    Ok(image)
}

/// The namespaces that are among these objects.
fn namespaces(manifests: &str) -> Result<Vec<String>, Error> {
    use serde::Deserialize as _;
    let mut names = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(manifests) {
        let object = Value::deserialize(document).map_err(testbed::Error::from)?;
        if object["kind"] == "Namespace" {
            names.extend(object["metadata"]["name"].as_str().map(str::to_owned));
        }
    }
    Ok(names)
}

/// Kills a process whenever it is there, until dropped.
#[derive(Debug)]
struct Hold {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hold {
    fn on(find: impl Fn() -> Option<Pid> + Send + 'static) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // It may have ended by itself.
                let _ = find().map(|pid| kill(pid, Signal::SIGKILL));
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
