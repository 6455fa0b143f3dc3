//! Looking at a running testbed: pods, what the mesh says of them, status, metrics.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1 as core;
use serde_yaml_ng::Value;

use super::{Error, Testbed, http};
use crate::{cgroup, manifests::Key};

/// How often something is looked at that is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Where the relay serves metrics.
const METRICS_PORT: u16 = 15_020;

/// A pod as it is now.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// Its phase.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Why it is not ready, as far as known.
    pub message: String,
    /// Its IPv4 address, once it has one.
    pub ip4: Option<Ipv4Addr>,
    /// Its IPv6 address, once it has one.
    pub ip6: Option<Ipv6Addr>,
    /// Its control group.
    pub cgroup: PathBuf,
    /// The process that holds its namespaces, while it has them.
    pub sandbox: Option<i32>,
    /// The container that commands run in if none is named.
    pub default_container: String,
}

impl Pod {
    /// The handle on its network namespace, while it has one.
    #[must_use]
    pub fn netns(&self) -> Option<PathBuf> {
        self.sandbox.map(|pid| format!("/proc/{pid}/ns/net").into())
    }
}

impl Testbed {
    /// All pods, by namespace and name.
    ///
    /// # Errors
    /// If the run directory cannot be read.
    pub fn pods(&self) -> Result<Vec<Pod>, Error> {
        let mut pods = Vec::new();
        for entry in fs::read_dir(self.layout.overlay("pods"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            match fs::read_to_string(&path) {
                Ok(text) => pods.push(self.observed(serde_yaml_ng::from_str(&text)?)),
                // It went just now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(pods)
    }

    /// One pod.
    ///
    /// # Errors
    /// If it is not there.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        let path = self.layout.overlay("pods").join(Key::new(namespace, name).file_name());
        match fs::read_to_string(path) {
            Ok(text) => Ok(self.observed(serde_yaml_ng::from_str(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let others =
                    self.pods()?.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
                Err(Error::NoPod { namespace: namespace.to_owned(), name: name.to_owned(), others })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until a pod is ready.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn wait_ready(&self, namespace: &str, name: &str, timeout: Duration) -> Result<Pod, Error> {
        self.wait_for(&format!("pod {namespace}/{name} to be ready"), timeout, || {
            match self.pod(namespace, name) {
                Ok(pod) if pod.ready => Ok(pod),
                Ok(pod) => Err(format!("{} {}", pod.phase, pod.message)),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Waits until what runs in a pod's default container says `serving`, as our servers do once they listen. A pod
    /// without a readiness probe is ready before that.
    ///
    /// # Errors
    /// If it has not in time.
    pub fn wait_serving(&self, namespace: &str, name: &str, timeout: Duration) -> Result<(), Error> {
        self.wait_for(&format!("pod {namespace}/{name} to say that it serves"), timeout, || {
            let pod = self.pod(namespace, name).map_err(|error| error.to_string())?;
            let log = self.layout.log(&format!("{namespace}.{name}.{}", pod.default_container));
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.lines().any(|line| line.starts_with("serving")) { Ok(()) } else { Err(said) }
        })
    }

    /// Waits until every pod of the directory is ready or has succeeded.
    ///
    /// # Errors
    /// If they are not in time.
    pub fn wait_all_ready(&self, timeout: Duration) -> Result<Vec<Pod>, Error> {
        let wanted: Vec<Key> =
            crate::manifests::Source::new(&self.directory).read().0.pods.into_keys().collect();
        self.wait_for("all pods to be ready", timeout, || {
            let pods = self.pods().map_err(|error| error.to_string())?;
            let settled = |pod: &Pod| pod.ready || pod.phase == "Succeeded";
            let waiting = wanted.iter().filter_map(|key| {
                let pod = pods.iter().find(|pod| pod.namespace == key.namespace && pod.name == key.name);
                match pod {
                    Some(pod) if settled(pod) => None,
                    Some(pod) => Some(format!("{key}: {} {}", pod.phase, pod.message)),
                    None => Some(format!("{key}: not scheduled")),
                }
            });
            let waiting: Vec<String> = waiting.collect();
            if waiting.is_empty() { Ok(pods) } else { Err(waiting.join("; ")) }
        })
    }

    /// Waits until a pod is gone, with everything of it.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn wait_gone(&self, namespace: &str, name: &str, timeout: Duration) -> Result<(), Error> {
        self.wait_for(&format!("pod {namespace}/{name} to be gone"), timeout, || {
            match self.pod(namespace, name) {
                Err(Error::NoPod { .. }) => Ok(()),
                Ok(pod) => Err(pod.phase),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Waits until the mesh has wired a pod.
    ///
    /// # Errors
    /// If it has not in time.
    pub fn wait_wired(&self, namespace: &str, name: &str, timeout: Duration) -> Result<(), Error> {
        self.wait_mesh_state(namespace, name, "Wired", timeout)
    }

    /// Waits until the mesh reports a pod in this state: `Unknown`, `Pending`, `Wired` or `Plain`.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_mesh_state(
        &self,
        namespace: &str,
        name: &str,
        state: &str,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.wait_for(&format!("the mesh to have pod {namespace}/{name} {state}"), timeout, || {
            let pod = self.pod(namespace, name).map_err(|error| error.to_string())?;
            let seen = self.mesh_state(&pod).map_err(|error| error.to_string())?;
            if seen.as_deref().is_some_and(|seen| seen.eq_ignore_ascii_case(state)) {
                Ok(())
            } else {
                Err(seen.unwrap_or_else(|| "not listed".to_owned()))
            }
        })
    }

    /// What the agent of its node says of a pod: its `state` of `GET /pods`.
    ///
    /// # Errors
    /// If the agent cannot be asked.
    pub fn mesh_state(&self, pod: &Pod) -> Result<Option<String>, Error> {
        let pods: Vec<serde_json::Value> = serde_json::from_str(&self.admin(&pod.node, "/pods")?)?;
        let ours = pods.iter().find(|entry| entry["uid"] == pod.uid.as_str());
        Ok(ours.and_then(|entry| entry["state"].as_str()).map(str::to_owned))
    }

    /// Asks the relay's admin socket of a node.
    ///
    /// # Errors
    /// If it cannot be asked or does not answer 200.
    pub fn admin(&self, node: &str, path: &str) -> Result<String, Error> {
        let socket = self.node(node).admin_socket();
        http::get(std::os::unix::net::UnixStream::connect(socket)?, path)
    }

    /// The metrics of a node.
    ///
    /// # Errors
    /// If they cannot be scraped.
    pub fn metrics(&self, node: &str) -> Result<String, Error> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.in_netns(&self.node(node).netns(), move || {
            http::get(std::net::TcpStream::connect((local, METRICS_PORT))?, "/metrics")
        })?
    }

    /// The status that the controller wrote of an object; leave the namespace empty for kinds without one.
    ///
    /// # Errors
    /// If there is a file that is not YAML.
    pub fn status(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        let file =
            if namespace.is_empty() { format!("{name}.yaml") } else { Key::new(namespace, name).file_name() };
        match fs::read_to_string(self.layout.run().join("status").join(kind).join(file)) {
            Ok(text) => Ok(Some(serde_yaml_ng::from_str(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until `look` succeeds; its last complaint becomes part of the error.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        look: impl FnMut() -> Result<T, String>,
    ) -> Result<T, Error> {
        wait_for(what, timeout, look)
    }

    fn observed(&self, pod: core::Pod) -> Pod {
        let text = |field: Option<String>| field.unwrap_or_default();
        let (metadata, status) = (pod.metadata, pod.status.unwrap_or_default());
        let addresses =
            || status.pod_ips.iter().flatten().filter_map(|entry| entry.ip.parse::<IpAddr>().ok());
        let node = text(pod.spec.and_then(|spec| spec.node_name));
        let uid = text(metadata.uid);
        let cgroup = self.node(&node).pod_cgroup(&uid);
        let ready = |condition: &core::PodCondition| condition.type_ == "Ready" && condition.status == "True";
        let default_container = metadata.annotations.unwrap_or_default().remove(DEFAULT_CONTAINER_ANNOTATION);
        Pod {
            namespace: text(metadata.namespace),
            name: text(metadata.name),
            phase: text(status.phase.clone()),
            ready: status.conditions.iter().flatten().any(ready),
            terminating: metadata.deletion_timestamp.is_some(),
            message: text(status.message.clone()),
            ip4: addresses()
                .find_map(|address| if let IpAddr::V4(address) = address { Some(address) } else { None }),
            ip6: addresses()
                .find_map(|address| if let IpAddr::V6(address) = address { Some(address) } else { None }),
            sandbox: cgroup::processes(&cgroup.join("pause")).first().map(|pid| pid.as_raw()),
            default_container: text(default_container),
            cgroup,
            node,
            uid,
        }
    }
}

/// See [`Testbed::wait_for`], for what is no testbed's.
pub(crate) fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(last) if start.elapsed() > timeout => {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    seconds: start.elapsed().as_secs_f64(),
                    last,
                });
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Where kubectl looks for the container that it runs commands in.
pub(crate) const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
