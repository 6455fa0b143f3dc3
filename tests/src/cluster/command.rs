//! The commands of `mesh-cluster`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use nix::fcntl::{Flock, FlockArg};

use super::{
    Error,
    error::io,
    leftovers, load, machine,
    place::{self, Place},
    up,
};
use crate::launch::{LAUNCH_FAILED, Launch};

/// A real Kubernetes on this machine.
#[derive(Debug, Parser)]
#[command(name = "mesh-cluster")]
struct Cli {
    /// The workspace's target directory
    #[arg(long, default_value = "target")]
    target: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the cluster up and leave it running
    Up(up::Options),
    /// Import an image into every node
    Load {
        /// The archive (OCI image layout or `docker save`)
        image: PathBuf,
    },
    /// Print the path of the kubeconfig
    Kubeconfig,
    /// Take the cluster down
    Down,
    /// Make a machine
    #[command(hide = true)]
    Machine { specification: PathBuf },
    /// Be a machine's first process
    #[command(hide = true)]
    MachineInit { specification: PathBuf },
    /// Join a control group and become a command
    #[command(hide = true)]
    Launch { specification: String },
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Launch { specification } = &cli.command {
        let failed = match serde_json::from_str::<Launch>(specification).map(Launch::become_it) {
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        eprintln!("error: {failed}");
        return ExitCode::from(u8::try_from(LAUNCH_FAILED).unwrap_or(u8::MAX));
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    let target = std::path::absolute(&cli.target).map_err(io("find", &cli.target))?;
    let place = Place::new(&target);
    match cli.command {
        Command::Up(options) => {
            let _lock = lock(&place)?;
            up::run(&place, &options).inspect_err(|_| {
                let logs = Place::log("MACHINE", "*");
                eprintln!(
                    "what is up stays, to be looked at ({}); then: cargo xtask cluster down",
                    logs.display()
                );
            })
        }
        Command::Load { image } => {
            if let Some(named) = place::foreign(&place) {
                return Err(Error::Foreign(named));
            }
            let nodes = Place::nodes();
            if nodes.is_empty() {
                return Err(Error::Down);
            }
            load::import(&nodes, &image)?;
            println!("loaded into {}", nodes.join(", "));
            Ok(())
        }
        Command::Kubeconfig => {
            let path = place::kubeconfig(&place);
            if path == place.kubeconfig() && !path.exists() {
                return Err(Error::Down);
            }
            println!("{}", path.display());
            Ok(())
        }
        Command::Down => {
            let _lock = lock(&place)?;
            leftovers::remove(&place)?;
            println!("the cluster is down");
            Ok(())
        }
        Command::Machine { specification } => machine::enter(&specification),
        Command::MachineInit { specification } => machine::init(&specification),
        Command::Launch { .. } => Ok(()),
    }
}

/// How long somebody else may hold it: a child of one that was killed holds it until it is another program.
const LOCKED: Duration = Duration::from_secs(2);

/// One at a time; the kernel lets go of it however its holder ends.
fn lock(place: &Place) -> Result<Flock<File>, Error> {
    let path = place.lock();
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io("make", folder))?;
    let file = File::create(&path).map_err(io("open", &path))?;
    let (mut file, start) = (file, Instant::now());
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err(_) if start.elapsed() > LOCKED => return Err(Error::Busy(path)),
            Err((same, _)) => file = same,
        }
        thread::sleep(Duration::from_millis(50));
    }
}
