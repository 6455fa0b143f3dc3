//! The unprivileged half of the agent: turns discovery into what wire enforces, and wire's reports
//! into metrics, the access log and answers.
//!
//! It parses what comes from elsewhere, so it runs with no capability: one thread for control, and
//! the workers for bytes.
//!
//! | module | what it does |
//! |---|---|
//! | [`discovery`] | the stream from the controller |
//! | [`identity`] | the certificates of this node's identities |
//! | [`tls`] | whom to believe, and how to be believed |
//! | [`resource`] | what comes over it, parsed |
//! | [`snapshot`] | the same, kept for when the controller is away |
//! | [`compile`] | resources to entries of fixed shape, purely |
//! | [`desired`] | what is to be enforced, and what wire was told of it |
//! | [`link`] | the connection to wire |
//! | [`names`] | what numbers in reports stand for |
//! | [`tunnel`] | applications' connections through HBONE |
//! | [`access`], [`world`] | who may come in, and who is where, as the tunnel asks |
//! | [`routing`] | what Services and their routes make of what is dialled, as the tunnel asks |
//! | [`workers`] | the threads that the tunnel runs on |
//! | [`telemetry`] | metrics and the access log |
//! | [`run_dir`] | where its files go, once wire has opened it |
//! | [`scrape`], [`admin`] | what relay serves, both over [`serve`] |

mod access;
mod admin;
mod backoff;
mod compile;
mod desired;
mod discovery;
mod engine;
mod identity;
mod link;
mod names;
mod node;
mod privileges;
mod resource;
mod routing;
mod run_dir;
mod scrape;
mod serve;
mod snapshot;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod workers;
mod world;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use mesh_api::duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, LocalSet};
use tracing_subscriber::EnvFilter;

use discovery::{Control, Joining};
use node::Node;
use telemetry::LogPlace;

/// How long the last reports have to reach the log at the end.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// Options of `mesh-agent relay`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The node's name.
    #[arg(long)]
    node: String,
    /// The node's run directory: gets access.log, snapshot, and node.pem if it is in memory.
    #[arg(long)]
    run_dir: PathBuf,
    /// Directory of what this relay shares with its own wire only: holds wire.sock and sockets.sock, gets
    /// admin.sock; in Kubernetes of the pod. With one, this relay takes the metrics' address when another
    /// relay of the node lets go of it. Default: the run directory.
    #[arg(long)]
    pod_dir: Option<PathBuf>,
    /// Where the controller listens: tcp:IP:PORT, tcp:NAME:PORT or unix:PATH.
    #[arg(long)]
    control: Control,
    /// The join file that the controller writes for this node: gets the node its first certificate.
    #[arg(long, required_unless_present = "service_account", conflicts_with = "service_account")]
    join: Option<PathBuf>,
    /// In Kubernetes in place of a join file: the directory with the projected token of the agent's
    /// ServiceAccount (`token`), and `ca.crt` and `trust-domain` of ConfigMap mesh-roots.
    #[arg(long)]
    service_account: Option<PathBuf>,
    /// How old the discovery state may become while the controller is away before that is told as a
    /// problem; it is enforced all the same.
    #[arg(long, default_value = "24h", value_parser = duration::argument)]
    max_snapshot_age: Duration,
    /// Where /metrics and /ready are served, such as `[::]:15020`.
    #[arg(long)]
    metrics: SocketAddr,
    /// Where the access log goes: a file, or - for the standard output. Default: access.log in the run
    /// directory, with the four before it.
    #[arg(long)]
    access_log: Option<LogPlace>,
    /// Threads that carry the tunnel's bytes; one for each processor by default.
    #[arg(long)]
    workers: Option<std::num::NonZeroUsize>,
    /// How long open connections may take to finish when relay is told to end.
    #[arg(long, default_value = "5s", value_parser = duration::argument)]
    drain: Duration,
}

impl Options {
    fn pod_dir(&self) -> &Path {
        self.pod_dir.as_ref().unwrap_or(&self.run_dir)
    }
}

/// Runs relay until it is told to stop.
///
/// # Errors
/// When it holds a capability, or cannot listen or log where it is to.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    privileges::give_up()?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime of relay")?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        run_dir::wait(&options.run_dir).await;
        run_dir::wait(options.pod_dir()).await;
        let node = start(options).await?;
        let metrics = serve_metrics(&node, options).await?;
        let (workers, telling) = carry(&node, options)?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        tracing::info!(within = ?options.drain, "relay ends; wire goes on enforcing");
        node.draining.set(true);
        // The next relay's, if one waits for the address.
        metrics.abort();
        workers.drain(options.drain).await;
        // The last reports are on their way to the log.
        let _ = tokio::time::timeout(TELL_WITHIN, telling).await;
        Ok(())
    })
}

/// Starts every task of relay on the [`LocalSet`] it is called in.
async fn start(options: &Options) -> anyhow::Result<Rc<Node>> {
    let (node, questions) = Node::new(&options.node);
    let node = Rc::new(node);
    let log = options.access_log.clone();
    let log = log.unwrap_or_else(|| LogPlace::File(options.run_dir.join("access.log")));
    node.telemetry.borrow_mut().log_to(log)?;
    let admin = serve::unix(&options.pod_dir().join("admin.sock"))?;
    tracing::info!(node = %node.name, metrics = %options.metrics, "relay starts");

    let shared = Rc::clone(&node);
    tokio::task::spawn_local(serve::serve(admin, move |request| admin::respond(Rc::clone(&shared), request)));
    discover(&node, options)?;
    let shared = Rc::clone(&node);
    let socket = options.pod_dir().join("wire.sock");
    tokio::task::spawn_local(async move { link::run(shared, &socket, questions).await });
    Ok(node)
}

/// Serves metrics until the task is aborted.
async fn serve_metrics(node: &Rc<Node>, options: &Options) -> anyhow::Result<JoinHandle<()>> {
    let listener = match serve::tcp(options.metrics).await {
        Err(error) if options.pod_dir.is_some() && error.is_in_use() => {
            tracing::warn!(%error, "metrics are served once whoever is there, an earlier relay, lets go of the address");
            None
        }
        listening => Some(listening?),
    };
    Ok(tokio::task::spawn_local(scrape::run(Rc::clone(node), options.metrics, listener)))
}

/// Puts the last known state in force and keeps it, and the node's certificates, current.
fn discover(node: &Rc<Node>, options: &Options) -> anyhow::Result<()> {
    let joining = match (&options.join, &options.service_account) {
        (Some(file), _) => Joining::File(file.clone()),
        (None, Some(directory)) => Joining::ServiceAccount(directory.clone()),
        (None, None) => anyhow::bail!("nothing to join with: give --join FILE or --service-account DIR"),
    };
    node.discovery.max_age.set(Some(options.max_snapshot_age));
    let held = Rc::default();
    snapshot::restore(node, &held, &options.run_dir);
    tokio::task::spawn_local(snapshot::rely_on_restored(Rc::clone(node)));
    tokio::task::spawn_local(snapshot::keep(Rc::clone(node), Rc::clone(&held), options.run_dir.clone()));

    let controller = Rc::new(discovery::Controller::default());
    let (identities, trust) = (Arc::clone(&node.identities), Arc::clone(&node.trust));
    tokio::task::spawn_local(identity::run(identities, trust, Rc::clone(&controller)));
    let options =
        discovery::Options { control: options.control.clone(), joining, run_dir: options.run_dir.clone() };
    tokio::task::spawn_local(discovery::run(Rc::clone(node), held, controller, options));
    Ok(())
}

/// Starts the workers, and what follows them; the task ends when they have and all is told.
fn carry(node: &Rc<Node>, options: &Options) -> anyhow::Result<(Rc<workers::Workers>, JoinHandle<()>)> {
    let (reporter, reports) = workers::reports(&node.tunnel);
    let sockets = options.pod_dir().join(crate::handover::sockets::NAME);
    let count = options.workers.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let shared = workers::Shared {
        world: Arc::clone(&node.world),
        routing: Arc::clone(&node.routing),
        identities: Arc::clone(&node.identities),
        trust: Arc::clone(&node.trust),
        reporter,
        sockets: sockets.clone(),
        files: tunnel::limits::Files::of_process(count),
        handshakes: Arc::default(),
    };
    let workers = Rc::new(workers::Workers::start(count, &shared)?);
    let channel = tunnel::channel::Channel::new(sockets);
    tokio::task::spawn_local(workers::listeners::keep(Rc::clone(node), Rc::clone(&workers), channel));
    tokio::task::spawn_local(workers::memory::watch(Arc::clone(&node.tunnel)));
    let telling = tokio::task::spawn_local(telemetry::follow(Rc::clone(node), reports));
    Ok((workers, telling))
}
