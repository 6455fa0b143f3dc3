//! The privileged process: keeps the kernel programs loaded, attached and fed.
//!
//! What is in force outlives it: programs, links and maps are pinned, so after `kill -9`
//! everything goes on and the next wire adopts it. It parses no byte from the network; what
//! relay says is checked entry by entry before it reaches the kernel.
//!
//! | room | what happens there |
//! |---|---|
//! | [`platform`], [`hierarchy`] | is this kernel fit, where is cgroup2 and how deep is what |
//! | [`pins`], [`programs`], [`links`], [`maps`] | load or adopt, replace in place, attach, verify |
//! | [`cgroups`], [`interfaces`], [`observe`] | what is on the node: pods, their namespaces, their interfaces |
//! | [`target`], [`plan`], [`apply`] | what the kernel should hold, the ordered way there, and going it |
//! | [`content`] | peers, Services and policy sets, checked and mirrored |
//! | [`listeners`], [`redirect_route`], [`supply`] | sockets of the agent inside pods' namespaces, made here and given to relay |
//! | [`sockets`], [`judge`], [`enforce`], [`reset`], [`sweep`] | open connections: re-evaluated, aborted, counted |
//! | [`run_dir`], [`endpoint`], [`session`], [`outbox`], [`events`], [`report`] | the exchange with relay |
//! | [`takeover`], [`given`], [`earlier`], [`succession`], [`linger`] | one wire takes another's place while both run, and what each does then |
//! | [`answer`] | questions of the CLI, answered from what the kernel holds |
//! | [`node`], [`signal`] | the loop that joins them, and what it is told |
//!
//! Threads: the loop, and one each for cgroup events, interface events, the ring buffer, work on
//! sockets, counts and samples, the two directions of the exchange, the channel of sockets, signals to
//! end, and another wire that asks.
//!
//! Capabilities kept after start, see [`privileges`]: `BPF` and `NET_ADMIN` (maps, programs, links,
//! destroying sockets, the route of redirected addresses), `PERFMON` (the verifier's pointer rules),
//! `SYS_ADMIN` (entering network namespaces), `SYS_PTRACE` (finding the namespace of a process of
//! another user). Sockets inside pods need none of their own: no port of theirs is privileged.
//! At start `CHOWN` too, to give relay's user its sockets and a place in the run directory.

mod answer;
mod apply;
mod cgroups;
mod content;
mod earlier;
mod endpoint;
mod enforce;
mod events;
mod given;
mod hierarchy;
mod interfaces;
mod judge;
mod linger;
mod links;
mod listeners;
mod maps;
mod netlink;
mod node;
mod observe;
mod older;
mod outbox;
mod pins;
mod plan;
mod platform;
mod privileges;
mod programs;
mod redirect_route;
mod report;
mod reset;
mod roster;
mod run_dir;
mod session;
mod signal;
mod slots;
mod sockets;
mod start;
mod succession;
mod supply;
mod sweep;
mod takeover;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use mesh_api::duration;
use nix::sys::signal::{SigSet, Signal};

/// Options of the privileged process.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The node's name, for logs.
    #[arg(long)]
    pub(crate) node: String,
    /// Directory of this node's sockets, shared with relay.
    #[arg(long)]
    pub(crate) run_dir: PathBuf,
    /// Directory of what this wire shares with its own relay only: wire.sock and sockets.sock; in Kubernetes
    /// of the pod. With one, this wire takes over from another that runs on the node. Default: the run
    /// directory.
    #[arg(long)]
    pub(crate) pod_dir: Option<PathBuf>,
    /// Where programs, links and maps are pinned, on a bpf file system.
    #[arg(long, default_value = "/sys/fs/bpf/mesh")]
    pub(crate) pin_root: PathBuf,
    /// The cgroup below which every pod of this node is: a directory of cgroup2, or one with a
    /// cgroup2 mount below it. In a pod: where the node's /sys/fs/cgroup is mounted.
    #[arg(long)]
    pub(crate) cgroup_root: PathBuf,
    /// User id that relay runs as; default: the same as wire.
    #[arg(long)]
    pub(crate) relay_uid: Option<u32>,
    /// Group id that relay runs as; default: the same number as its user id.
    #[arg(long)]
    pub(crate) relay_gid: Option<u32>,
    /// A directory whose children are pods, besides `kubepods` and `kubepods.slice`; absolute, or
    /// relative to the cgroup root. May be repeated.
    #[arg(long)]
    pub(crate) pods_root: Vec<PathBuf>,
    /// An interface of the node that leads to other nodes and must not be taken for a pod's. Only
    /// needed where it is a veth without routes of its own, as on a bridge. May be repeated.
    #[arg(long)]
    pub(crate) uplink: Vec<String>,
    /// How long to go on after being told to end while relay is connected: its open connections need
    /// this process to finish. Longer than relay's --drain.
    #[arg(long, default_value = "0s", value_parser = duration::argument)]
    pub(crate) linger: Duration,
}

/// Options of the removal.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UninstallOptions {
    /// Where programs, links and maps are pinned.
    #[arg(long, default_value = "/sys/fs/bpf/mesh")]
    pub(crate) pin_root: PathBuf,
    /// The cgroup the programs are attached to.
    #[arg(long)]
    pub(crate) cgroup_root: PathBuf,
    /// Also empty this run directory of what agents left in it.
    #[arg(long)]
    pub(crate) run_dir: Option<PathBuf>,
    /// Stay once everything is removed, until told to end: a DaemonSet that removes then counts as
    /// ready on every node where that is done.
    #[arg(long)]
    pub(crate) stay: bool,
}

/// Loads or adopts the data path and feeds it until the process is stopped.
///
/// # Errors
/// When the kernel is not fit, the pins are not ours to use, or the programs cannot be attached.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    log();
    Ok(start::run(options)?)
}

/// Removes every program, link, map and directory of the mesh below the pin root.
///
/// # Errors
/// When something is left that could not be removed, or a wire is running on these pins.
pub(crate) fn uninstall(options: &UninstallOptions) -> anyhow::Result<()> {
    log();
    pins::uninstall(&options.pin_root, &options.cgroup_root)?;
    if let Some(run_dir) = &options.run_dir {
        run_dir::empty(run_dir)?;
    }
    if options.stay {
        tracing::info!("staying until told to end");
        let mut end = SigSet::empty();
        end.add(Signal::SIGTERM);
        end.add(Signal::SIGINT);
        end.thread_block()?;
        end.wait()?;
    }
    Ok(())
}

fn log() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .try_init();
}
