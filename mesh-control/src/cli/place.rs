//! Whom to ask: the sockets of a run directory, or the pods of a cluster.

use super::client::Socket;
use super::cluster::{Cluster, ClusterError, Kubeconfig};
use super::node::Node;
use super::run_dir::RunDir;
use super::{Arguments, CliError, endpoint};

/// Where the mesh is.
pub(super) enum Place {
    /// On this machine.
    RunDir(RunDir),
    /// Behind an API server.
    Cluster(Cluster),
}

impl Place {
    /// The cluster that is named; else the run directory that is named; else the cluster that the
    /// conventions find; else the only testbed.
    pub(super) async fn find(arguments: &Arguments) -> Result<Self, CliError> {
        let named = Kubeconfig::named(arguments);
        if let (None, Some(run_dir)) = (&named, &arguments.run_dir) {
            return Ok(Self::RunDir(RunDir::find(Some(run_dir))?));
        }
        match named.or_else(Kubeconfig::found) {
            Some(kubeconfig) => {
                let mesh = arguments.mesh_namespace.clone();
                Ok(Self::Cluster(Cluster::connect(&kubeconfig, mesh).await?))
            }
            None => Ok(Self::RunDir(RunDir::find(None)?)),
        }
    }

    /// The cluster, where it is one.
    pub(super) fn cluster(&self, command: &'static str) -> Result<&Cluster, CliError> {
        match self {
            Self::Cluster(cluster) => Ok(cluster),
            Self::RunDir(_) => Err(CliError::NoCluster { command }),
        }
    }

    /// The controller: in a cluster the replica that the agents are served by.
    pub(super) async fn controller(&self) -> Result<Socket, CliError> {
        match self {
            Self::RunDir(run_dir) => Ok(run_dir.controller()),
            Self::Cluster(cluster) => Ok(cluster.controller().await?),
        }
    }

    /// The nodes by name, or the one that is wanted.
    pub(super) async fn nodes(&self, wanted: Option<&str>) -> Result<Vec<Node>, CliError> {
        match self {
            Self::RunDir(run_dir) => Ok(run_dir.nodes(wanted)?),
            Self::Cluster(cluster) => Ok(cluster.nodes(wanted).await?),
        }
    }

    /// The namespace of what is written without one: as it was given, else in a cluster that of the
    /// kubeconfig's context.
    pub(super) fn namespace<'a>(&'a self, given: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::RunDir(_) => given,
            Self::Cluster(cluster) => given.or_else(|| Some(cluster.namespace())),
        }
    }

    /// What the labels say of a pod, `NAMESPACE/NAME`, where somebody can say it.
    pub(super) async fn asked(&self, pod: &str) -> Result<Option<String>, CliError> {
        match (self, pod.split_once('/')) {
            (Self::Cluster(cluster), Some((namespace, name))) => {
                Ok(Some(cluster.asked(namespace, name).await?))
            }
            _ => Ok(None),
        }
    }

    /// The node of the first of these that is a pod's name (`NAMESPACE/NAME`) or address, with or
    /// without a port, where somebody can say it without the nodes being asked.
    pub(super) async fn home_of_any(&self, these: &[&str]) -> Result<Option<String>, CliError> {
        let Self::Cluster(cluster) = self else { return Ok(None) };
        for (number, text) in these.iter().enumerate() {
            let Some(pod) = endpoint::pod_or_address(text) else { continue };
            match cluster.home(&pod).await {
                Ok(None) => {}
                // What is dialled may be a Service by that name.
                Err(ClusterError::NoPod(_)) if number > 0 => {}
                home => return Ok(home?),
            }
        }
        Ok(None)
    }
}
