//! The command line: what is enforced where, and why a connection is or is not allowed.
//!
//! `arguments` is what can be written, here is what comes of it.
//!
//! The controller and every node have a socket that only its owner may open. `place` says where they
//! are: in a run directory (`run_dir`), or in the pods of a `cluster`, where `exec` reaches them;
//! `client` asks them, `node` several at a time. Each of these commands is a question and a view of the
//! answer, which `output` prints as a table, JSON or YAML. `install` asks nobody: it renders.

mod analyze;
mod arguments;
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
mod node;
mod output;
mod place;
mod pods;
mod report;
mod run_dir;
mod said;
mod status;
#[cfg(test)]
mod tests;
mod wait;

use std::process::ExitCode;

use crate::analyze::InputError;

pub use arguments::Arguments;
use arguments::{CaCommand, CanArguments, Command, EnrolArguments, ExplainArguments, NodeCommand, Question};
use client::ClientError;
use cluster::ClusterError;
use endpoint::{EndpointError, Subject};
use explain::UnknownReason;
use install::InstallError;
use output::View;
use place::Place;
use report::ReportError;
use run_dir::RunDirError;

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
        Question::Enroll(wanted) => enrol::enrol(&place, wanted, true).await,
        Question::Unenroll(wanted) => enrol::enrol(&place, wanted, false).await,
        Question::Explain(wanted) => explained(&place, only, wanted).await,
        Question::ExplainDenial { id } => explain::denial(&place.nodes(only).await?, id).await,
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
        Some(Subject::Service(name)) => {
            let controller = place.controller().await.ok();
            explain::service(&nodes, controller.as_ref(), &name, wanted.from.as_deref()).await
        }
        _ if wanted.from.is_some() => Err(EndpointError::NoCaller.into()),
        None => explain::explain(&nodes, what, wanted.pod.as_deref()).await,
    }
}
