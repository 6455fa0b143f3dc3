//! A pod's sandbox: its control group, and a process that does nothing but hold its namespaces.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
};

use k8s_openapi::api::core::v1::PodSpec;

use super::{Context, environment::hostname};
use crate::{
    cgroup,
    launch::{Bind, Launch, RootView, SANDBOX_READY},
    node::{PodAssignment, cni},
};

/// A sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error(transparent)]
    Network(#[from] cni::Error),
    #[error("cannot make the pod's sandbox: {0}")]
    Io(#[from] io::Error),
    #[error("the pod's sandbox ended before it was ready; see the node's log")]
    Ended,
}

/// A running sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    process: Child,
    cgroup: PathBuf,
    /// A folder of the pod's own in the run directory.
    pub(super) files: PathBuf,
    /// What every container of the pod sees in `/etc`.
    pub(super) etc: Vec<Bind>,
    link: Option<String>,
}

impl Sandbox {
    /// Makes the pod's control group first, then its namespaces, then its network: the order that a kubelet has, and
    /// that lets an agent know the pod before anything of it runs.
    pub(super) fn create(context: &Context, assignment: &PodAssignment) -> Result<Self, Error> {
        let cgroup = context.node.pod_cgroup(&assignment.uid);
        cgroup::create(&cgroup.join("pause"))?;
        let files = context.node.run.join("pods").join(&assignment.uid);
        let spec = assignment.pod.spec.clone().unwrap_or_default();
        let etc = write_etc(context, assignment, &spec, &files)?;
        let host_network = spec.host_network == Some(true);
        let launch = Launch {
            cgroup: Some(cgroup.join("pause")),
            new_network: !host_network,
            hostname: (!host_network).then(|| hostname(assignment)),
            root: Some(RootView { binds: etc.clone(), scratch: files.join("sandbox") }),
            new_session: true,
            ..Launch::default()
        };
        let mut process = launch.command(&context.config.testbed_program).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let link = (!host_network).then(|| assignment.uid.clone());
        let sandbox = Self { process, cgroup, files, etc, link };
        if line.trim() != SANDBOX_READY {
            sandbox.destroy()?;
            return Err(Error::Ended);
        }
        if let Some(uid) = &sandbox.link
            && let Err(error) = cni::join_pod(&context.config, uid, sandbox.pid(), assignment.addresses)
        {
            sandbox.destroy()?;
            return Err(error.into());
        }
        Ok(sandbox)
    }

    /// The sandbox process.
    pub(super) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// The handle on one of its namespaces.
    pub(super) fn namespace(&self, kind: &str) -> PathBuf {
        format!("/proc/{}/ns/{kind}", self.process.id()).into()
    }

    /// Ends every process of the pod and removes what it had.
    pub(super) fn destroy(mut self) -> Result<(), Error> {
        cgroup::kill(&self.cgroup)?;
        self.process.wait()?;
        if let Some(uid) = &self.link {
            cni::leave_pod(uid);
        }
        cgroup::remove(&self.cgroup)?;
        match fs::remove_dir_all(&self.files) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Writes the pod's `resolv.conf` and `hosts`.
fn write_etc(
    context: &Context,
    assignment: &PodAssignment,
    spec: &PodSpec,
    files: &PathBuf,
) -> io::Result<Vec<Bind>> {
    fs::create_dir_all(files)?;
    let mut binds = Vec::new();
    let mut add = |name: &str, text: String| {
        let source = files.join(name);
        fs::write(&source, text)?;
        binds.push(Bind { source, target: format!("/etc/{name}").into(), read_only: false });
        io::Result::Ok(())
    };
    if let Some(text) = resolv_conf(context, assignment, spec) {
        add("resolv.conf", text)?;
    }
    if spec.host_network != Some(true) {
        let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        for address in assignment.addresses.both() {
            hosts.push_str(&format!("{address}\t{}\n", hostname(assignment)));
        }
        for alias in spec.host_aliases.iter().flatten() {
            hosts.push_str(&format!(
                "{}\t{}\n",
                alias.ip,
                alias.hostnames.clone().unwrap_or_default().join(" ")
            ));
        }
        add("hosts", hosts)?;
    }
    Ok(binds)
}

/// The resolver's configuration after `dnsPolicy` and `dnsConfig`; `None` for the host's.
fn resolv_conf(context: &Context, assignment: &PodAssignment, spec: &PodSpec) -> Option<String> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "None" => false,
        "Default" => return None,
        "ClusterFirst" if spec.host_network == Some(true) => return None,
        _ => true,
    };
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if cluster {
        servers.extend(context.config.dns.iter().map(ToString::to_string));
        let namespace = &assignment.key.namespace;
        searches.extend([
            format!("{namespace}.svc.cluster.local"),
            "svc.cluster.local".into(),
            "cluster.local".into(),
        ]);
        options.push("ndots:5".to_owned());
    }
    if let Some(config) = &spec.dns_config {
        servers.extend(config.nameservers.clone().unwrap_or_default());
        searches.extend(config.searches.clone().unwrap_or_default());
        options.extend(config.options.iter().flatten().map(|option| {
            let name = option.name.clone().unwrap_or_default();
            option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}"))
        }));
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    text.push_str(&format!("search {}\noptions {}\n", searches.join(" "), options.join(" ")));
    Some(text)
}
