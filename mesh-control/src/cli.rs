//! The command line: what is enforced where, and why a connection is or is not allowed.
//!
//! In a run directory the controller and every node have a socket that only its owner may open;
//! `run_dir` finds them, `client` asks them. Each of these commands is a question and a view of the
//! answer, which `output` prints as a table, JSON or YAML. `install` asks nobody: it renders.

mod ca;
mod can;
mod check;
mod client;
mod dump;
mod endpoint;
mod explain;
mod identity;
mod install;
mod output;
mod run_dir;
mod status;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_api::duration;

use client::ClientError;
use endpoint::EndpointError;
use explain::UnknownReason;
use install::{InstallArguments, InstallError, UninstallArguments};
use output::Format;
use run_dir::{RunDir, RunDirError};

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
    /// The run directory; without it the only testbed that is up.
    #[arg(long, env = "MESH_RUN_DIR", global = true)]
    run_dir: Option<PathBuf>,
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
}

#[derive(Debug, Subcommand)]
enum Question {
    /// How the controller and the nodes are, and what needs attention. Exit code 1 when the
    /// controller does not answer or a node is not ready.
    Status,
    /// Whether a connection would be allowed, by which rule, from what the data path has loaded.
    /// Exit code 0 allowed, 1 denied, 2 when a node that has to be asked does not answer.
    Can(CanArguments),
    /// What a node's agent holds.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Which kernel features the data path needs and has. Exit code 1 when one is missing.
    Check,
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
struct ExplainArguments {
    /// A reason, as log, metrics and CLI name it; explained though it has not happened.
    reason: Option<String>,
    /// Only what concerns this pod: NAMESPACE/NAME.
    #[arg(long, value_parser = pod)]
    pod: Option<String>,
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

#[derive(Debug, Args)]
struct CanArguments {
    /// Who connects: NAMESPACE/POD, or an address.
    source: String,
    /// What is dialled: NAMESPACE/POD:PORT, svc/NAMESPACE/NAME or NAMESPACE/SERVICE, with or without
    /// :PORT, or ADDRESS:PORT.
    destination: String,
    /// By UDP instead of TCP.
    #[arg(long)]
    udp: bool,
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
    /// A socket did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was asked about cannot be read or found.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What was asked to be explained is nothing that happens.
    #[error(transparent)]
    Reason(#[from] UnknownReason),
    /// The answer cannot be printed.
    #[error("printing the answer: {0}")]
    Output(#[from] std::io::Error),
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
    }
    Ok(Outcome::Yes)
}

fn ask(arguments: &Arguments, question: &Question) -> Result<Outcome, CliError> {
    let run_dir = RunDir::find(arguments.run_dir.as_deref())?;
    let nodes = || run_dir.nodes(arguments.node.as_deref());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    let (view, outcome) = runtime.block_on(async {
        match question {
            Question::Status => Ok(status::status(&run_dir, &nodes()?).await),
            Question::Can(can) => {
                // All nodes are asked where pods are; `--node` names who is asked for the verdict.
                let everyone = run_dir.nodes(None)?;
                can::can(&everyone, arguments.node.as_deref(), can).await
            }
            Question::Node(NodeCommand::Dump { name, flows }) => {
                let only = match name {
                    Some(name) => run_dir.nodes(Some(name))?,
                    None => nodes()?,
                };
                dump::dump(&only, *flows).await
            }
            Question::Check => check::check(&nodes()?).await,
            Question::Explain(wanted) => explain::explain(&nodes()?, wanted).await,
            Question::Identity { expiring } => identity::identity(&nodes()?, *expiring).await,
            Question::Ca(command) => ca::ca(&run_dir.controller(), command).await,
        }
    })?;
    view.print(arguments.output, &mut std::io::stdout().lock())?;
    Ok(outcome)
}
