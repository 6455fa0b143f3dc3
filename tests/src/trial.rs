//! What integration tests say: a cluster of YAML that is put up once and added to, calls between its pods, and what the
//! mesh tells of them. Every method panics with what it saw, as an assertion does.

mod call;
mod echo;
mod held;
mod http;
mod observe;
mod played;
mod table;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use serde::Deserialize as _;
use serde_yaml_ng::Value;

pub use call::{Answer, Failed, Outcome};
pub use echo::{Echo, echo, namespace, plain_namespace};
pub use held::{Held, ends};
pub use http::web;
pub use observe::{Condition, Denial};
pub use played::{PLAYED, played, played_as};
pub use table::Expect;

use crate::testbed::Testbed;

/// Longest wait for pods to be ready and policies to be in force; a busy machine may stand still for seconds.
const SETTLE: Duration = Duration::from_secs(60);

/// A testbed as the tests of one topic share it: each test adds a file of its own, with namespaces of its own.
#[derive(Debug)]
pub struct Trial {
    bed: Testbed,
    generation: AtomicI64,
}

/// A pod as the cluster knows it now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// Waits until `probe` gives something, looking every few milliseconds.
///
/// # Panics
/// If `limit` passes first.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

impl Trial {
    /// Puts up a cluster of this YAML; `topic` names it.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start(topic: &str, cluster: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: it makes namespaces and loads BPF programs"
        );
        let bed =
            Testbed::builder().name(format!("{topic}-{}", std::process::id())).manifest(cluster).start();
        let bed = bed.unwrap_or_else(|error| panic!("testbed {topic}: {error}"));
        Self { bed, generation: AtomicI64::new(1) }
    }

    /// The testbed itself.
    #[must_use]
    pub fn bed(&self) -> &Testbed {
        &self.bed
    }

    /// The run directory.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.bed.layout().run()
    }

    /// The watched directory.
    #[must_use]
    pub fn source(&self) -> &Path {
        self.bed.directory()
    }

    /// Writes a file of manifests and waits until its pods are ready and in the mesh as they ask, their echo servers
    /// listen, its policies are in force and its routes accepted or refused. What the file had before and has no longer is gone.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn put(&self, file: &str, manifests: impl ToString) {
        let documents = self.write(file, manifests);
        self.settle(&documents);
    }

    /// The same for several pieces of YAML.
    ///
    /// # Panics
    /// As [`Trial::put`].
    pub fn put_all(&self, file: &str, manifests: &[&dyn std::fmt::Display]) {
        let all: Vec<String> = manifests.iter().map(ToString::to_string).collect();
        self.put(file, all.join("\n---\n"));
    }

    /// Writes a file without waiting; policies and routes get a generation, which their status will show.
    ///
    /// # Panics
    /// If it is no YAML.
    pub fn write(&self, file: &str, manifests: impl ToString) -> Vec<Value> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let mut documents = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_str(&manifests.to_string()) {
            let mut value = Value::deserialize(document)
                .unwrap_or_else(|error| panic!("{file}: {error} in\n{}", manifests.to_string()));
            if value.is_null() {
                continue;
            }
            if has_status(&value)
                && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_mapping_mut)
            {
                metadata.insert("generation".into(), generation.into());
            }
            documents.push(value);
        }
        let texts: Vec<String> =
            documents.iter().map(|value| serde_yaml_ng::to_string(value).unwrap_or_default()).collect();
        self.write_raw(file, &texts.join("---\n"));
        documents
    }

    /// Writes a file as it is, in one step.
    ///
    /// # Panics
    /// If that fails.
    pub fn write_raw(&self, file: &str, text: &str) {
        let path = self.bed.directory().join(format!("{file}.yaml"));
        let aside = self.bed.directory().join(format!(".{file}.tmp"));
        fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path)).expect("the directory is ours");
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) {
        // A test may have removed it already.
        let _ = fs::remove_file(self.bed.directory().join(format!("{file}.yaml")));
    }

    /// A pod, by `namespace/name`.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn pod(&self, key: &str) -> Seen {
        self.try_pod(key).unwrap_or_else(|| panic!("pod {key} is not there"))
    }

    /// A pod, if it is there with an address.
    #[must_use]
    pub fn try_pod(&self, key: &str) -> Option<Seen> {
        let overlay = self.bed.layout().overlay("pods").join(format!("{}.yaml", key.replacen('/', ".", 1)));
        let pod: Value = serde_yaml_ng::from_str(&fs::read_to_string(overlay).ok()?).ok()?;
        let status = pod.get("status")?;
        let ready = status
            .get("conditions")
            .and_then(Value::as_sequence)
            .into_iter()
            .flatten()
            .any(|condition| text(condition, "type") == "Ready" && text(condition, "status") == "True");
        let addresses: Vec<_> = status
            .get("podIPs")
            .and_then(Value::as_sequence)
            .into_iter()
            .flatten()
            .filter_map(|entry| text(entry, "ip").parse().ok())
            .collect();
        let metadata = pod.get("metadata")?;
        (!addresses.is_empty()).then(|| Seen {
            uid: text(metadata, "uid").to_owned(),
            node: pod.get("spec").map(|spec| text(spec, "nodeName").to_owned()).unwrap_or_default(),
            addresses,
            ready,
            terminating: metadata.get("deletionTimestamp").is_some(),
        })
    }

    /// Waits until a pod is ready, or not.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_ready(&self, key: &str, ready: bool) {
        let what = format!("pod {key} {}", if ready { "becomes ready" } else { "is no longer ready" });
        eventually(&what, SETTLE, || self.try_pod(key).filter(|pod| pod.ready == ready));
    }

    /// The addresses of a Service, `namespace/name`, each with this port.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn service(&self, key: &str, port: u16) -> Vec<SocketAddr> {
        let addresses = eventually(&format!("service {key} has addresses"), SETTLE, || self.cluster_ips(key));
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    }

    fn cluster_ips(&self, key: &str) -> Option<Vec<std::net::IpAddr>> {
        let spec = self.service_spec(key)?;
        let listed = spec.get("clusterIPs").and_then(Value::as_sequence)?;
        Some(listed.iter().filter_map(|address| address.as_str()?.parse().ok()).collect())
    }

    /// What was added to a Service.
    #[must_use]
    pub fn service_spec(&self, key: &str) -> Option<Value> {
        let overlay =
            self.bed.layout().overlay("services").join(format!("{}.yaml", key.replacen('/', ".", 1)));
        let service: Value = serde_yaml_ng::from_str(&fs::read_to_string(overlay).ok()?).ok()?;
        service.get("spec").cloned()
    }

    /// The addresses of a node.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn node_addresses(&self, node: &str) -> Vec<std::net::IpAddr> {
        let overlay = self.bed.layout().overlay("nodes").join(format!("{node}.yaml"));
        let read =
            fs::read_to_string(&overlay).unwrap_or_else(|error| panic!("{}: {error}", overlay.display()));
        let object: Value = serde_yaml_ng::from_str(&read).unwrap_or_default();
        let addresses =
            object.get("status").and_then(|status| status.get("addresses")).and_then(Value::as_sequence);
        addresses.into_iter().flatten().filter_map(|entry| text(entry, "address").parse().ok()).collect()
    }

    /// A command in a pod (`namespace/name`), or on a node (`node:NAME`), not run yet.
    #[must_use]
    pub fn command(&self, place: &str, argv: &[&str]) -> Command {
        let mut command = match place.strip_prefix("node:") {
            Some(node) => self.bed.node_command(node, argv),
            None => {
                let (namespace, name) = place.split_once('/').unwrap_or(("default", place));
                self.bed.command(namespace, name, None, argv)
            }
        }
        .unwrap_or_else(|error| panic!("{place}: {error}"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command in a pod or on a node; gives its standard output.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn run_in(&self, place: &str, argv: &[&str]) -> String {
        let output = self.command(place, argv).output().unwrap_or_else(|error| panic!("{place}: {error}"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() != Some(crate::launch::LAUNCH_FAILED), "{place} {argv:?}: {out}{err}");
        out.into_owned()
    }

    fn settle(&self, documents: &[Value]) {
        for document in documents {
            let metadata = document.get("metadata").cloned().unwrap_or_default();
            let (namespace, name) = (text(&metadata, "namespace"), text(&metadata, "name"));
            let key = format!("{}/{name}", if namespace.is_empty() { "default" } else { namespace });
            match text(document, "kind") {
                "Pod" => self.wait_pod(&key, document),
                kind if has_status(document) => {
                    let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
                    if kind.ends_with("Route") {
                        self.wait_judged(kind, &key, generation);
                    } else {
                        self.wait_programmed(kind, &key, generation);
                    }
                }
                _ => {}
            }
        }
    }

    fn wait_pod(&self, key: &str, document: &Value) {
        let metadata = document.get("metadata").cloned().unwrap_or_default();
        let unready = metadata.get("annotations").is_some_and(|all| all.get(echo::UNREADY).is_some());
        let what = format!("pod {key} is ready");
        eventually(&what, SETTLE, || {
            self.try_pod(key).filter(|pod| (pod.ready || unready) && !pod.terminating)
        });
        let mode = metadata
            .get("labels")
            .and_then(|labels| labels.get("mesh.internal/mode"))
            .and_then(Value::as_str);
        let host_network = document.get("spec").and_then(|spec| spec.get("hostNetwork")).is_some();
        let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
        if echo::is_server(document) {
            let serving = self.bed.wait_serving(namespace, name, SETTLE);
            serving.unwrap_or_else(|error| panic!("pod {key}: {error}"));
        }
        if mode == Some("enabled") && !host_network {
            let wired = self.bed.wait_wired(namespace, name, SETTLE);
            wired.unwrap_or_else(|error| panic!("pod {key}: {error}"));
        }
    }

    fn wait_programmed(&self, kind: &str, key: &str, generation: i64) {
        let what = format!("{kind} {key} is in force at generation {generation}");
        let mut last = None;
        let start = Instant::now();
        loop {
            last = self.condition(kind, key, "Programmed").or(last);
            let done = |seen: &Condition| seen.status == "True" && seen.generation == generation;
            if last.as_ref().is_some_and(done) {
                return;
            }
            assert!(start.elapsed() < SETTLE, "{what}: not within {SETTLE:?}; last seen {last:?}");
            std::thread::sleep(Duration::from_millis(15));
        }
    }
}

/// Whether the mesh says of the object what became of it.
fn has_status(document: &Value) -> bool {
    let groups = ["mesh.internal/", "gateway.networking.k8s.io/"];
    groups.iter().any(|group| text(document, "apiVersion").starts_with(group))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
