//! What can be written on the command line: commands, their arguments and options, and what help says of each.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_api::duration;

use super::analyze::AnalyzeArguments;
use super::endpoint;
use super::install::{InstallArguments, UninstallArguments};
use super::output::Format;

/// Shows what the mesh enforces and decides.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version,
    after_help = "Exit codes: 0 yes (allowed, everything in order, nothing missing or failed); \
                  1 no (denied, a node is not ready or silent, a feature is missing, something failed or expires); \
                  2 the question could not be answered."
)]
pub struct Arguments {
    /// A run directory on this machine; without it the cluster that KUBECONFIG, the pod's service account
    /// or ~/.kube/config names, and without any the only testbed that is up.
    #[arg(long, env = "MESH_RUN_DIR", global = true)]
    pub(super) run_dir: Option<PathBuf>,
    /// The cluster's kubeconfig; counts more than any run directory.
    #[arg(long, global = true)]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; counts more than any run directory.
    #[arg(long, global = true)]
    pub(super) context: Option<String>,
    /// The namespace that the mesh is installed in.
    #[arg(long, default_value = "mesh-system", global = true)]
    pub(super) mesh_namespace: String,
    /// Ask only this node.
    #[arg(long, global = true)]
    pub(super) node: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    pub(super) output: Format,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Question(Question),
    /// Prints the objects of the mesh, for `kubectl apply -f -`; asks no cluster.
    Install(InstallArguments),
    /// Prints the same, of this version: give the values that were given to `install`.
    Upgrade(InstallArguments),
    /// Prints what takes every node out of the mesh, for `kubectl apply -f -`; with --objects what is
    /// to be deleted after that, for `kubectl delete -f -`.
    Uninstall(UninstallArguments),
    /// Says of manifests what the controller would, before they are applied; asks no cluster. Names are
    /// looked for in these files only. Exit code 1 when there is an error, 2 when something cannot be read.
    Analyze(AnalyzeArguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum Question {
    /// How the controller and the nodes are, and what needs attention. Exit code 1 when the
    /// controller does not answer or a node is not ready.
    Status {
        /// Wait until everything runs that was applied last, and every node has in its kernel what the
        /// controller told it. Exit code 1 when that takes longer than --timeout.
        #[arg(long)]
        wait: bool,
        /// How long to wait, such as 30s or 5m.
        #[arg(long, default_value = "5m", value_parser = duration::argument, requires = "wait")]
        timeout: Duration,
    },
    /// Whether a connection, or a request on it, would be allowed, by which rule, from what the data path
    /// has loaded. Exit code 0 allowed, 1 denied or refused, 2 when a node that has to be asked does not
    /// answer, or when it depends on the request and none is given.
    Can(CanArguments),
    /// What a node's agent holds.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Whether a cluster is fit for the mesh, and the mesh in it in order. Exit code 1 when something
    /// failed. In a run directory: which kernel features the data path needs and has.
    Check {
        /// Before the installation: only what needs no mesh.
        #[arg(long)]
        pre: bool,
    },
    /// Writes one archive for whoever looks into a problem: versions, the mesh's objects with their
    /// conditions, checks, what controller and agents answer, metrics, logs. It has no Secret, and what
    /// looks like a secret is taken out. Exit code 1 when something could not be had.
    BugReport {
        /// The file, which must not be there yet.
        #[arg(default_value = "mesh-report.tar")]
        file: PathBuf,
    },
    /// Labels a namespace or a pod as enrolled, says what that does, and waits until its nodes have done
    /// it. Exit code 1 when a pod that can be in the mesh is not within --timeout.
    Enroll(EnrolArguments),
    /// Takes a namespace or a pod out of the mesh, in the same way.
    Unenroll(EnrolArguments),
    /// What was refused or failed lately, what that means and what to check. Exit code 1 when there
    /// is something.
    Explain(ExplainArguments),
    /// Which request was denied, by which policy and rule: by the identifier that its caller was given in
    /// x-mesh-denied-by.
    ExplainDenial {
        /// The identifier.
        id: String,
    },
    /// Certificates of the identities on the nodes. Exit code 1 when one is not valid, or, with
    /// --expiring, when one is shown.
    Identity {
        /// Only those that end within this time, such as 1h or 30m, and those that have none.
        #[arg(long, value_parser = duration::argument)]
        expiring: Option<Duration>,
    },
    /// The certificate authority.
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Args)]
pub(super) struct EnrolArguments {
    /// A namespace, or pod/NAME.
    pub(super) target: String,
    /// The namespace of the pod; that of the kubeconfig's context where it is left out.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// End what the pods have open from before as well: when they come into the mesh, every TCP connection
    /// that began without it; when they leave it, what the agents carry for them.
    #[arg(long)]
    pub(super) reset: bool,
    /// How long the pods' nodes may take to do it.
    #[arg(long, default_value = "30s", value_parser = duration::argument)]
    pub(super) timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// A reason, as log, metrics and CLI name it, explained though it has not happened; or pod/NAME or
    /// svc/NAME: how that stands to the mesh.
    pub(super) what: Option<String>,
    /// Only what concerns this pod: NAMESPACE/NAME.
    #[arg(long, value_parser = pod)]
    pub(super) pod: Option<String>,
    /// Of a Service only the routes that apply to this caller: NAMESPACE/POD, or a namespace.
    #[arg(long)]
    pub(super) from: Option<String>,
    /// The namespace of the object; in a cluster that of the kubeconfig's context where it is left out.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Its certificates, and how far a replacement of the root is. Exit code 1 when it is not the
    /// one that MeshConfig asks for.
    Status,
    /// Begins to replace the root, under traffic; `ca status` shows how far that is.
    Rotate,
    /// Writes a new one-time join file for a node.
    Join {
        /// The node.
        node: String,
    },
}

fn pod(text: &str) -> Result<String, String> {
    match endpoint::source(text) {
        Ok(Err((namespace, name))) => Ok(format!("{namespace}/{name}")),
        _ => Err("write NAMESPACE/NAME".to_owned()),
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct CanArguments {
    /// Who connects: NAMESPACE/POD, or an address.
    pub(super) source: String,
    /// What is dialled: NAMESPACE/POD:PORT, svc/NAMESPACE/NAME or NAMESPACE/SERVICE, with or without
    /// :PORT, or ADDRESS:PORT.
    pub(super) destination: String,
    /// The method of a request, such as GET; a gRPC call is POST.
    #[arg(requires = "target", conflicts_with = "udp")]
    pub(super) method: Option<String>,
    /// Its path, with the query if it has one; of a gRPC call /PACKAGE.SERVICE/METHOD.
    #[arg(value_name = "PATH")]
    pub(super) target: Option<String>,
    /// A header field of the request, 'NAME: VALUE'; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "method")]
    pub(super) headers: Vec<String>,
    /// The host that the request names; the Service's where it is left out.
    #[arg(long, requires = "method")]
    pub(super) host: Option<String>,
    /// By UDP instead of TCP.
    #[arg(long)]
    pub(super) udp: bool,
    /// The namespace of what is written without one, as pod/NAME, NAME or svc/NAME; in a cluster that of
    /// the kubeconfig's context where it is left out.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
}

impl CanArguments {
    /// With names that have their namespace.
    pub(super) fn qualified(&self, namespace: Option<&str>) -> Self {
        let Some(namespace) = namespace else { return self.clone() };
        Self {
            source: endpoint::qualified(&self.source, namespace),
            destination: endpoint::qualified(&self.destination, namespace),
            ..self.clone()
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Everything that is loaded: programs, links, maps, pods, policy sets, Services, flows.
    Dump {
        /// The node; without it every node.
        name: Option<String>,
        /// The most flows to list.
        #[arg(long, default_value_t = 100)]
        flows: u32,
    },
}
