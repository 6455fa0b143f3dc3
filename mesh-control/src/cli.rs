//! The command line: what is enforced where, and why a connection is or is not allowed.
//!
//! The controller and every node have a socket that only its owner may open. `place` says where they
//! are: in a run directory (`run_dir`), or in the pods of a `cluster`, where `exec` reaches them;
//! `client` asks them. Each of these commands is a question and a view of the answer, which `output`
//! prints as a table, JSON or YAML. `install` asks nobody: it renders.

mod analyze;
mod ca;
mod can;
mod check;
mod client;
mod cluster;
mod dump;
mod endpoint;
mod enrol;
mod exec;
mod explain;
mod gather;
mod identity;
mod install;
mod output;
mod place;
mod pods;
mod report;
mod run_dir;
mod status;
#[cfg(test)]
mod tests;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_api::duration;

use crate::analyze::InputError;

use analyze::AnalyzeArguments;
use client::ClientError;
use cluster::ClusterError;
use endpoint::{EndpointError, Subject};
use explain::UnknownReason;
use install::{InstallArguments, InstallError, UninstallArguments};
use output::{Format, View};
use place::Place;
use report::ReportError;
use run_dir::RunDirError;

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
    run_dir: Option<PathBuf>,
    /// The cluster's kubeconfig; counts more than any run directory.
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; counts more than any run directory.
    #[arg(long, global = true)]
    context: Option<String>,
    /// The namespace that the mesh is installed in.
    #[arg(long, default_value = "mesh-system", global = true)]
    mesh_namespace: String,
    /// Ask only this node.
    #[arg(long, global = true)]
    node: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
enum Question {
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
    /// Whether a connection would be allowed, by which rule, from what the data path has loaded.
    /// Exit code 0 allowed, 1 denied, 2 when a node that has to be asked does not answer.
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
struct EnrolArguments {
    /// A namespace, or pod/NAME.
    target: String,
    /// The namespace of the pod; that of the kubeconfig's context where it is left out.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long the pods' nodes may take to do it.
    #[arg(long, default_value = "30s", value_parser = duration::argument)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct ExplainArguments {
    /// A reason, as log, metrics and CLI name it, explained though it has not happened; or pod/NAME or
    /// svc/NAME: how that stands to the mesh.
    what: Option<String>,
    /// Only what concerns this pod: NAMESPACE/NAME.
    #[arg(long, value_parser = pod)]
    pod: Option<String>,
    /// The namespace of the object; in a cluster that of the kubeconfig's context where it is left out.
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
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
struct CanArguments {
    /// Who connects: NAMESPACE/POD, or an address.
    source: String,
    /// What is dialled: NAMESPACE/POD:PORT, svc/NAMESPACE/NAME or NAMESPACE/SERVICE, with or without
    /// :PORT, or ADDRESS:PORT.
    destination: String,
    /// By UDP instead of TCP.
    #[arg(long)]
    udp: bool,
    /// The namespace of what is written without one, as pod/NAME, NAME or svc/NAME; in a cluster that of
    /// the kubeconfig's context where it is left out.
    #[arg(short, long)]
    namespace: Option<String>,
}

impl CanArguments {
    /// With names that have their namespace.
    fn qualified(&self, namespace: Option<&str>) -> Self {
        let Some(namespace) = namespace else { return self.clone() };
        Self {
            source: endpoint::qualified(&self.source, namespace),
            destination: endpoint::qualified(&self.destination, namespace),
            ..self.clone()
        }
    }
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Everything that is loaded: programs, links, maps, pods, policy sets, Services, flows.
    Dump {
        /// The node; without it every node.
        name: Option<String>,
        /// The most flows to list.
        #[arg(long, default_value_t = 100)]
        flows: u32,
    },
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// No run directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The API server did not say.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// It is about a cluster, and there is none.
    #[error(
        "`{command}` asks a cluster; name one with --kubeconfig, --context or KUBECONFIG, without MESH_RUN_DIR"
    )]
    NoCluster {
        /// What was wanted.
        command: &'static str,
    },
    /// It is about no single node.
    #[error("--node is for questions that nodes answer; leave it out")]
    NotOfANode,
    /// A socket did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// What was asked about cannot be read or found.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What was asked to be explained is nothing that happens.
    #[error(transparent)]
    Reason(#[from] UnknownReason),
    /// The answer cannot be printed.
    #[error("printing the answer: {0}")]
    Output(#[from] std::io::Error),
    /// There are no manifests.
    #[error(transparent)]
    Analyze(#[from] InputError),
    /// Nothing can be rendered.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// No runtime.
    #[error("starting: {0}")]
    Runtime(std::io::Error),
}

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// 0.
    Yes,
    /// 1.
    No,
    /// 2, though there is something to show.
    Unknown,
}

/// Runs a command and gives its exit code.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    match answer(arguments) {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Ok(Outcome::Unknown) => ExitCode::from(2),
        Err(CliError::Output(error) | CliError::Install(InstallError::Output(error)))
            if error.kind() == std::io::ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("meshctl: {error}");
            ExitCode::from(2)
        }
    }
}

fn answer(arguments: &Arguments) -> Result<Outcome, CliError> {
    let (format, to) = (arguments.output, std::io::stdout);
    match &arguments.command {
        Command::Question(question) => return ask(arguments, question),
        Command::Install(chosen) | Command::Upgrade(chosen) => {
            install::install(chosen, format, &mut to().lock())?;
        }
        Command::Uninstall(chosen) => install::uninstall(chosen, format, &mut to().lock())?,
        Command::Analyze(chosen) => return analyze::run(chosen, format, &mut to().lock()),
    }
    Ok(Outcome::Yes)
}

fn ask(arguments: &Arguments, question: &Question) -> Result<Outcome, CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    let (view, outcome) = runtime.block_on(answered(arguments, question))?;
    view.print(arguments.output, &mut std::io::stdout().lock())?;
    Ok(outcome)
}

async fn answered(arguments: &Arguments, question: &Question) -> Result<(View, Outcome), CliError> {
    let only = arguments.node.as_deref();
    if only.is_some()
        && let Question::Enroll(_) | Question::Unenroll(_) | Question::BugReport { .. } | Question::Ca(_) =
            question
    {
        return Err(CliError::NotOfANode);
    }
    let place = Place::find(arguments).await?;
    match question {
        Question::Status { wait: true, timeout } => wait::wait(&place, only, *timeout).await,
        Question::Status { wait: false, .. } => {
            let nodes = place.nodes(only).await?;
            Ok(status::status(&place.controller().await?, Some(&place), &nodes).await)
        }
        Question::Can(can) => {
            let can = can.qualified(place.namespace(can.namespace.as_deref()));
            let home = place.home_of_any(&[&can.source, &can.destination]).await?;
            // All nodes may be asked where pods are; `--node` names who is asked for the verdict.
            can::can(&place.nodes(None).await?, only, home.as_deref(), &can).await
        }
        Question::Node(NodeCommand::Dump { name, flows }) => {
            let nodes = place.nodes(name.as_deref().or(only)).await?;
            dump::dump(&nodes, *flows).await
        }
        Question::Check { pre } => match (&place, only) {
            (Place::Cluster(cluster), None) => Ok(check::cluster(cluster, *pre).await),
            _ if *pre => Err(CliError::NoCluster { command: "check --pre" }),
            _ => check::features(&place.nodes(only).await?).await,
        },
        Question::BugReport { file } => report::report(place.cluster("bug-report")?, file).await,
        Question::Enroll(wanted) => enrol::enrol(place.cluster("enroll")?, wanted, true).await,
        Question::Unenroll(wanted) => enrol::enrol(place.cluster("unenroll")?, wanted, false).await,
        Question::Explain(wanted) => explained(&place, only, wanted).await,
        Question::Identity { expiring } => identity::identity(&place.nodes(only).await?, *expiring).await,
        Question::Ca(command) => ca::ca(&place.controller().await?, command).await,
    }
}

async fn explained(
    place: &Place,
    only: Option<&str>,
    wanted: &ExplainArguments,
) -> Result<(View, Outcome), CliError> {
    let what = wanted.what.as_deref();
    let namespace = place.namespace(wanted.namespace.as_deref());
    let subject = what.map(|what| Subject::parse(what, namespace)).transpose()?.flatten();
    let nodes = place.nodes(only).await?;
    match subject {
        Some(Subject::Pod(name)) => {
            let home = place.home_of_any(&[&name]).await?;
            explain::pod(&nodes, &name, home.as_deref(), place.asked(&name).await?).await
        }
        Some(Subject::Service(name)) => explain::service(&nodes, &name).await,
        None => explain::explain(&nodes, what, wanted.pod.as_deref()).await,
    }
}
