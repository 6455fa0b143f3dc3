//! Where everything of the cluster lies. There is one cluster on a machine; all its names begin the same, so that what
//! a killed one left can be found.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Kubectl;
use crate::{
    addresses::{CLUSTER_SLOT, Plan},
    layout::NETNS_ROOT,
};

/// Begins every name: the run directory's, network namespaces', control groups', and that of the link to this machine.
pub(super) const NAME: &str = "mesh-cluster";

/// The machine of the control plane.
pub(super) const CONTROL: &str = "control";

/// How many nodes there can be: those whose pods are in [`Plan::all_pods`].
pub(super) const NODES: u8 = 100;

/// The port of the API server.
pub(super) const API_PORT: u16 = 6443;

/// The paths and addresses of the cluster.
#[derive(Debug, Clone)]
pub struct Place {
    target: PathBuf,
}

impl Place {
    /// The cluster of the workspace with this `target` directory, which holds the programs and the kubeconfig.
    #[must_use]
    pub fn new(target: &Path) -> Self {
        Self { target: target.join("cluster") }
    }

    /// Every address.
    #[must_use]
    pub fn plan() -> Plan {
        Plan::new(CLUSTER_SLOT)
    }

    /// Kubernetes' programs and the others that were built for the cluster.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.target.join("programs")
    }

    /// The Gateway API's definitions, one file each, of the version that is tested with.
    #[must_use]
    pub fn definitions(&self) -> PathBuf {
        self.target.join("definitions")
    }

    /// The images that every node begins with.
    pub(super) fn images(&self) -> PathBuf {
        self.target.join("images")
    }

    /// What kubectl reaches the cluster by, as its administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.target.join("kubeconfig")
    }

    /// Held by whoever brings the cluster up or takes it down.
    pub(super) fn lock(&self) -> PathBuf {
        self.target.join("lock")
    }

    /// kubectl for the cluster here, as its administrator.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self, &self.kubeconfig()).remembering(&Self::run().join("kubectl"))
    }

    /// Everything that is written while the cluster runs, in memory.
    pub(super) fn run() -> PathBuf {
        Path::new("/run").join(NAME)
    }

    /// Exists once the cluster is up; holds what it is.
    pub(super) fn ready() -> PathBuf {
        Self::run().join("ready")
    }

    /// The part of one machine.
    pub(super) fn machine(name: &str) -> PathBuf {
        Self::run().join("machines").join(name)
    }

    /// What a machine has in its `/etc/kubernetes`.
    pub(super) fn etc(machine: &str) -> PathBuf {
        Self::machine(machine).join("etc")
    }

    /// The log of a program on a machine.
    pub(super) fn log(machine: &str, program: &str) -> PathBuf {
        Self::machine(machine).join("log").join(format!("{program}.log"))
    }

    /// The socket of a node's containerd, as seen from outside of the node.
    pub(super) fn containerd(node: &str) -> PathBuf {
        Self::machine(node).join("run/containerd/containerd.sock")
    }

    /// The name of a machine's network namespace; the control plane's is also the one that joins the others.
    pub(super) fn netns_name(machine: &str) -> String {
        if machine == CONTROL { NAME.to_owned() } else { format!("{NAME}.{machine}") }
    }

    /// The handle on it.
    pub(super) fn netns(machine: &str) -> PathBuf {
        Path::new(NETNS_ROOT).join(Self::netns_name(machine))
    }

    /// The name of a node, counted from 1.
    pub(super) fn node(number: u8) -> String {
        format!("node-{number}")
    }

    /// The names of the nodes that there are, for those who did not bring them up.
    pub(super) fn nodes() -> Vec<String> {
        (1..=NODES).map(Self::node).filter(|name| Self::machine(name).is_dir()).collect()
    }
}

/// The kubeconfig to use: the one that `KUBECONFIG` names, else that of the cluster here.
#[must_use]
pub fn kubeconfig(place: &Place) -> PathBuf {
    foreign(place).map_or_else(|| place.kubeconfig(), PathBuf::from)
}

/// What `KUBECONFIG` names, if that is not the cluster here.
pub(super) fn foreign(place: &Place) -> Option<String> {
    let named = env::var("KUBECONFIG").ok().filter(|named| !named.is_empty())?;
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    (canonical(Path::new(&named)) != canonical(&place.kubeconfig())).then_some(named)
}
