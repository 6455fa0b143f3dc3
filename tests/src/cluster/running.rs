//! The cluster that is up here, looked into from outside: its pods' namespaces and the processes on its nodes, which
//! are processes of this machine.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::core::v1 as core;
use nix::unistd::Pid;
use serde_json::Value;

use super::{
    Error, Image, Kubectl,
    error::io,
    load, pack,
    place::{CONTROL, NAME, Place},
};
use crate::{cgroup, launch::Launch, layout, testbed};

/// A running cluster.
#[derive(Debug, Clone)]
pub struct Running {
    place: Place,
    kubectl: Kubectl,
    /// The control groups of all machines, in the second version's hierarchy.
    cgroups: PathBuf,
}

/// A pod as the API server has it.
#[derive(Debug, Clone)]
pub struct ClusterPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its node; empty until it has one.
    pub node: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Its addresses, once it has them.
    pub addresses: Vec<IpAddr>,
}

impl Running {
    /// The cluster of the workspace with this `target` directory.
    ///
    /// # Errors
    /// If none is up, or there is no cgroup2 hierarchy.
    pub fn attach(target: &Path) -> Result<Self, Error> {
        let place = Place::new(target);
        if !Place::ready().exists() {
            return Err(Error::Down);
        }
        let kubectl = place.kubectl();
        Ok(Self { kubectl, place, cgroups: layout::cgroup2()?.join(NAME) })
    }

    /// kubectl for it.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Its administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.place.kubeconfig()
    }

    /// Makes an image and brings it to every node.
    ///
    /// # Errors
    /// If it cannot be packed or imported.
    pub fn load(&self, image: &Image) -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(io("make", Path::new("a temporary folder")))?;
        let archive = folder.path().join("image.tar");
        pack(image, &archive)?;
        load::import(&self.nodes(), &archive)
    }

    /// The names of its nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        Place::nodes()
    }

    /// A folder of a node's `/run`.
    #[must_use]
    pub fn run(&self, node: &str, folder: &str) -> PathBuf {
        Place::machine(node).join("run").join(folder)
    }

    /// The handle on a node's network namespace.
    #[must_use]
    pub fn netns(&self, node: &str) -> PathBuf {
        Place::netns(node)
    }

    /// The handle on the network namespace with the bridge that joins the nodes.
    #[must_use]
    pub fn fabric(&self) -> PathBuf {
        Place::netns(CONTROL)
    }

    /// All pods, of every namespace.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub fn pods(&self) -> Result<Vec<ClusterPod>, Error> {
        let text = self.kubectl.run(&["get", "pods", "--all-namespaces", "--output=json"])?;
        // kubectl calls its list `List`, which is no kind of the API.
        let mut list: Value = serde_json::from_str(&text)?;
        let pods: Vec<core::Pod> = serde_json::from_value(list["items"].take())?;
        Ok(pods.into_iter().map(ClusterPod::from).collect())
    }

    /// A process on a node whose command line begins with a program of this name and these words.
    #[must_use]
    pub fn process(&self, node: &str, program: &str, words: &[&str]) -> Option<Pid> {
        all_processes(&self.cgroups.join(node)).into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut said = line.split(|byte| *byte == 0).skip(1);
            runs(*pid, program) && words.iter().all(|word| said.next() == Some(word.as_bytes()))
        })
    }

    /// The handle on a pod's network namespace, while a process of it runs.
    #[must_use]
    pub fn pod_netns(&self, pod: &ClusterPod) -> Option<PathBuf> {
        let group = find_directory(&self.cgroups.join(&pod.node), &format!("pod{}", pod.uid))?;
        all_processes(&group).first().map(|pid| format!("/proc/{pid}/ns/net").into())
    }

    /// A command in a container of a pod, the first if none is named, with the caller's standard input.
    #[must_use]
    pub fn command(&self, namespace: &str, pod: &str, argv: &[&str]) -> Command {
        let mut command = self.kubectl.command();
        command.args(["exec", "--stdin", "--namespace", namespace, pod, "--"]).args(argv);
        command
    }

    /// A command in a pod's first container that needs no API server once it runs, for when that is away: in the
    /// container's namespaces and control group, with its environment.
    ///
    /// # Errors
    /// If no process of the pod has this program, or `mesh-testbed` is not built.
    pub fn enter(&self, pod: &ClusterPod, program: &str, argv: &[&str]) -> Result<Command, Error> {
        let group = find_directory(&self.cgroups.join(&pod.node), &format!("pod{}", pod.uid));
        let inside = group.and_then(|group| {
            directories(&group).into_iter().find_map(|container| {
                let pid = cgroup::processes(&container).into_iter().find(|pid| runs(*pid, program))?;
                Some((container, pid))
            })
        });
        let (container, pid) = inside.ok_or(Error::Down)?;
        let handle = |kind: &str| Some(format!("/proc/{pid}/ns/{kind}").into());
        let launch = Launch {
            cgroup: Some(container),
            network: handle("net"),
            uts: handle("uts"),
            mounts: handle("mnt"),
            directory: Some("/".into()),
            environment: Some([("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into()),
            argv: argv.iter().map(ToString::to_string).collect(),
            ..Launch::default()
        };
        Ok(launch.command(&testbed::program().map_err(|error| Error::Launcher(Box::new(error)))?))
    }

    /// What the kubelet keeps of what a container says: its newest file.
    ///
    /// # Errors
    /// If the node's kubelet does not run, or there is none.
    pub fn container_log(&self, pod: &ClusterPod, container: &str) -> Result<PathBuf, Error> {
        let kubelet = self.process(&pod.node, "kubelet", &[]).ok_or(Error::Down)?;
        let ClusterPod { namespace, name, uid, .. } = pod;
        let folder = format!("/proc/{kubelet}/root/var/log/pods/{namespace}_{name}_{uid}/{container}");
        let folder = PathBuf::from(folder);
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io("read", &folder))? {
            files.push(entry.map_err(io("read", &folder))?.path());
        }
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u32>().ok();
        let newest = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
        let newest = newest.max_by_key(number);
        newest.ok_or_else(|| io("find a log in", &folder)(std::io::Error::from(std::io::ErrorKind::NotFound)))
    }
}

impl From<core::Pod> for ClusterPod {
    fn from(pod: core::Pod) -> Self {
        let (metadata, status) = (pod.metadata, pod.status.unwrap_or_default());
        let ready = |condition: &core::PodCondition| condition.type_ == "Ready" && condition.status == "True";
        Self {
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            node: pod.spec.and_then(|spec| spec.node_name).unwrap_or_default(),
            ready: status.conditions.iter().flatten().any(ready),
            addresses: status.pod_ips.iter().flatten().filter_map(|entry| entry.ip.parse().ok()).collect(),
        }
    }
}

/// Whether a process's command line begins with a program of this name.
fn runs(pid: Pid, program: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    first.rsplit(|byte| *byte == b'/').next() == Some(program.as_bytes())
}

/// The processes of a control group and of all below it.
fn all_processes(group: &Path) -> Vec<Pid> {
    let mut found = cgroup::processes(group);
    for below in directories(group) {
        found.extend(all_processes(&below));
    }
    found
}

/// The directory of that name at any depth.
fn find_directory(folder: &Path, name: &str) -> Option<PathBuf> {
    let below = directories(folder);
    let is_it = |path: &&PathBuf| path.file_name().is_some_and(|file| file == name);
    if let Some(found) = below.iter().find(is_it) {
        return Some(found.clone());
    }
    below.iter().find_map(|path| find_directory(path, name))
}

fn directories(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
