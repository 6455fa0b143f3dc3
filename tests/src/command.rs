//! The commands of `mesh-testbed`.

mod up;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tracing_subscriber::EnvFilter;

use crate::{
    launch::{LAUNCH_FAILED, Launch},
    layout::Layout,
    node,
    supervisor::{self, lock},
    testbed::Testbed,
};

/// Longest time for everything to be removed.
const DOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// Nodes, pods and Services of a directory of Kubernetes YAML, on this machine's kernel.
#[derive(Debug, Parser)]
#[command(name = "mesh-testbed")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a testbed up and leave it running
    Up(up::Args),
    /// Run a command in a pod
    Exec(ExecArgs),
    /// List the pods
    Pods {
        /// The testbed
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// Take a testbed down
    Down {
        /// The testbed
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// Run a testbed in the foreground until a signal comes
    Serve(supervisor::Options),
    /// Be a node
    #[command(hide = true)]
    Node { configuration: String },
    /// Join control group and namespaces and become a command
    #[command(hide = true)]
    Launch { specification: String },
}

#[derive(Debug, clap::Args)]
struct ExecArgs {
    /// The testbed
    #[arg(long, default_value = "dev")]
    name: String,
    /// The pod's namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The pod
    pod: String,
    /// The container, the first if not named
    #[arg(short, long)]
    container: Option<String>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    argv: Vec<String>,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err((error, status)) => {
            eprintln!("error: {error}");
            ExitCode::from(status)
        }
    }
}

/// Every failure with the status that the process ends with.
fn run(command: Command) -> Result<(), (Box<dyn std::error::Error>, u8)> {
    fn told<E: Into<Box<dyn std::error::Error>>>(error: E) -> (Box<dyn std::error::Error>, u8) {
        (error.into(), 1)
    }
    match command {
        Command::Up(args) => up::run(&args).map_err(told),
        Command::Exec(args) => {
            exec(&args).map_err(|error| (error, u8::try_from(LAUNCH_FAILED).unwrap_or(u8::MAX)))
        }
        Command::Pods { name } => {
            let testbed = Testbed::attach(&name).map_err(told)?;
            up::print_pods(&testbed.pods().map_err(told)?);
            Ok(())
        }
        Command::Down { name } => down(&name).map_err(told),
        Command::Serve(options) => supervisor::run(options).map_err(told),
        Command::Node { configuration } => {
            let configuration = serde_json::from_str(&configuration).map_err(told)?;
            node::run(configuration).map_err(told)
        }
        Command::Launch { specification } => {
            let launch = serde_json::from_str::<Launch>(&specification).map_err(told)?;
            let Err(error) = launch.become_it();
            Err((error.into(), u8::try_from(LAUNCH_FAILED).unwrap_or(u8::MAX)))
        }
    }
}

fn exec(args: &ExecArgs) -> Result<(), Box<dyn std::error::Error>> {
    let testbed = Testbed::attach(&args.name)?;
    let argv: Vec<&str> = args.argv.iter().map(String::as_str).collect();
    let launch = testbed.launch(&args.namespace, &args.pod, args.container.as_deref(), &argv)?;
    let Err(error) = launch.become_it();
    Err(error.into())
}

fn down(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let testbed = Testbed::attach(name)?;
    let layout = Layout::new(name)?;
    if let Some(pid) = lock::owner(&layout).and_then(|pid| pid.parse().ok()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    }
    testbed.wait_for("the testbed to be down", DOWN_TIMEOUT, || {
        if layout.run().exists() { Err(format!("{} is still there", layout.run().display())) } else { Ok(()) }
    })?;
    // Kept until here for whoever wants to know why it did not come up.
    match std::fs::remove_file(layout.supervisor_log()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    println!("testbed {name} is down");
    Ok(())
}
