//! The controller.
//!
//! One thread follows the source and builds; the runtime serves agents and the admin socket, writes
//! status, and watches the API server where that is the source.

use std::{future::pending, io::IsTerminal as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use mesh_api::duration;
use mesh_control::{
    admin,
    ads::{Ads, listen},
    ca::{self, Authority, Directories, Timestamp},
    cluster::{Cluster, Leadership},
    health,
    pipeline::Shared,
    reports::ReportService,
    serve::{self, Listen},
    source::{Directory, Source, Watch},
    status,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot::{self, Receiver},
};
use tracing_subscriber::EnvFilter;

/// A write to the API server that is under way when the process ends may take this long.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// The controller of the mesh: reads the objects, sends every node's agent what it needs.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct CommandLine {
    #[command(subcommand)]
    instead: Option<Instead>,
    #[command(flatten)]
    controller: Option<Arguments>,
}

/// What is done instead of controlling.
#[derive(Debug, Subcommand)]
enum Instead {
    /// Passes standard input and output on to the controller's admin socket: how `meshctl` asks in its
    /// container.
    Admin {
        /// The controller's run directory, with control.sock in it.
        #[arg(long)]
        run_dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Arguments {
    /// Where objects come from: kubernetes, the API server of KUBECONFIG, of the pod's service account
    /// or of ~/.kube/config; or dir:PATH, a directory of Kubernetes YAML that is watched.
    #[arg(long, value_parser = origin)]
    source: Origin,
    /// The run directory: sockets, status, and what the kubelet part reports.
    #[arg(long)]
    run_dir: PathBuf,
    /// Where agents connect, with TLS either way: IP:PORT or unix:PATH. Default: unix:<run dir>/ads.sock.
    #[arg(long)]
    listen: Option<Listen>,
    /// The user that agents run as; the agents' Unix socket and the join files are given to it.
    #[arg(long)]
    agent_uid: Option<u32>,
    /// The certificate authority's directory: tls.crt, tls.key and ca.crt where one is given; made
    /// there where none is. Default: <run dir>/ca. Not with --source kubernetes, where its state is in
    /// Secret mesh-authority.
    #[arg(long)]
    ca_dir: Option<PathBuf>,
    /// How long a node's join file is good, such as 24h or 30m.
    #[arg(long, default_value = "24h", value_parser = join_ttl)]
    join_ttl: Duration,
    /// The namespace of the controller's own objects and of the agents' ServiceAccount, with --source
    /// kubernetes. Default: that of the controller's service account, or of the kubeconfig's context.
    #[arg(long)]
    namespace: Option<String>,
    /// The ServiceAccount that agents run as, with --source kubernetes.
    #[arg(long, default_value = "mesh-agent")]
    agent_account: String,
    /// Where to answer GET /live and GET /ready: IP:PORT. Default: nowhere.
    #[arg(long)]
    health: Option<SocketAddr>,
}

/// Where objects come from.
#[derive(Debug, Clone)]
enum Origin {
    Directory(PathBuf),
    Kubernetes,
}

/// The same, found.
enum Found {
    Directory(PathBuf),
    Cluster(Cluster),
}

fn origin(text: &str) -> Result<Origin, String> {
    if text == "kubernetes" {
        return Ok(Origin::Kubernetes);
    }
    let path = text.strip_prefix("dir:").filter(|path| !path.is_empty());
    let path = path.map(|path| Origin::Directory(PathBuf::from(path)));
    path.ok_or_else(|| "write kubernetes, or dir:PATH, the directory to watch".to_owned())
}

fn join_ttl(text: &str) -> Result<Duration, String> {
    match duration::argument(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        ttl => Ok(ttl),
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = match CommandLine::parse() {
        CommandLine { instead: Some(Instead::Admin { run_dir }), .. } => {
            let socket = run_dir.join("control.sock");
            return mesh_api::admin::pass_on(&socket)
                .with_context(|| format!("asking the controller at {}", socket.display()));
        }
        CommandLine { controller: Some(arguments), .. } => arguments,
        CommandLine { .. } => CommandLine::command()
            .error(ErrorKind::MissingRequiredArgument, "give --source and --run-dir, or `admin`")
            .exit(),
    };
    mesh_api::memory::hide().context("cannot keep the keys in memory from being read or dumped")?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    if let Origin::Directory(path) = &arguments.source {
        anyhow::ensure!(
            path.is_dir(),
            "--source dir:{} is not a directory; create it or correct the path",
            path.display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(run(arguments));
    // Whatever still waits for the API server then waits in vain.
    runtime.shutdown_timeout(LAST_WRITES);
    ended
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let run_dir = arguments.run_dir;
    let place = arguments.listen.unwrap_or_else(|| Listen::Unix(run_dir.join("ads.sock")));
    let admin_socket = run_dir.join("control.sock");
    let shared = Arc::new(Shared::default());

    let given_elsewhere = arguments.ca_dir.is_some();
    let directories = Directories {
        authority: arguments.ca_dir.unwrap_or_else(|| run_dir.join("ca")),
        join: run_dir.join("join"),
        agent_uid: arguments.agent_uid,
        join_ttl: arguments.join_ttl,
    };
    let placements = shared.placements.clone();
    let (source, authority) = match arguments.source {
        Origin::Directory(path) => {
            let authority = Authority::open(directories, placements, Timestamp::now());
            let authority = authority.context("cannot open the certificate authority (--ca-dir)")?;
            (Found::Directory(path), authority)
        }
        Origin::Kubernetes => {
            anyhow::ensure!(
                !given_elsewhere,
                "--ca-dir is not for --source kubernetes, where every controller must find the same authority: leave it out; to give one, name a Secret in spec.ca.secretRef of the MeshConfig"
            );
            let host = nix::unistd::gethostname().context("cannot tell this host's name")?;
            let cluster =
                Cluster::connect(arguments.namespace, arguments.agent_account, &host.to_string_lossy()).await;
            let cluster = cluster.context("cannot follow a cluster (--source kubernetes)")?;
            let authority = Authority::stand_by(directories, placements, cluster.keep());
            let authority = authority.context("cannot make the run directory (--run-dir)")?;
            let authority = authority.with_agents(cluster.agents());
            // That it cannot listen is better known now than when it leads.
            drop(place.bind(arguments.agent_uid).await?);
            (Found::Cluster(cluster), authority)
        }
    };
    let authority = Arc::new(authority);
    let admin = listen(&admin_socket, None)?;
    if let Some(address) = arguments.health {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on --health {address}"))?;
        tokio::spawn(health::serve(listener, shared.store.clone()));
    }
    let (ended, leadership) = match source {
        Found::Directory(path) => {
            tokio::spawn(status::write_files(
                run_dir.join("status"),
                shared.conditions(),
                shared.store.clone(),
                shared.acks.clone(),
            ));
            (build(&shared, Watch::new(Directory::new(path, run_dir.join("kubelet"))))?, None)
        }
        Found::Cluster(cluster) => {
            let (source, leadership) = cluster.follow(&shared, &authority);
            (build(&shared, source)?, Some(leadership))
        }
    };
    tokio::spawn(admin::serve(admin, shared.clone(), authority.clone()));
    let won = leadership.as_ref().map(|leadership| leadership.won(authority.clone()));
    let lost = leadership.as_ref().map(Leadership::lost);
    let serving = async {
        // Until then nobody listens, and agents go on to the one that does.
        if let Some(won) = won {
            tracing::info!("standing by");
            won.await;
        }
        let agents = place.bind(arguments.agent_uid).await?;
        tokio::spawn(ca::run(authority.clone(), shared.clone()));
        let ads = Ads::new(shared.store.clone(), shared.acks.clone(), authority.clone());
        let reports = ReportService::new(shared.reports.clone(), authority.clone());
        tracing::info!(at = %place, "serving agents");
        serve::serve(agents, authority.clone(), ads, reports).await.context("the agents' socket failed")
    };
    let deposed = async {
        match lost {
            Some(lost) => lost.await,
            None => pending().await,
        }
    };
    // Streams are cut on a signal: agents keep what they have and resume with the next controller.
    let result = tokio::select! {
        served = serving => served,
        stopped = stopped() => stopped,
        by = deposed => Err(anyhow::anyhow!("another controller leads now, {by}; start this one again, to stand by")),
        _ = ended => Err(anyhow::anyhow!("the build thread ended, see the message before; restart the controller")),
    };
    let agents_socket = if let Listen::Unix(path) = &place { Some(path) } else { None };
    for socket in agents_socket.into_iter().chain([&admin_socket]) {
        let _ = std::fs::remove_file(socket);
    }
    if let Some(leadership) = leadership {
        leadership.give_back().await;
    }
    result
}

/// Waits for a signal that ends the process.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    Ok(())
}

/// Builds from the source on a thread of its own; what is returned ends when the thread does, which it
/// does only by a panic.
fn build(shared: &Arc<Shared>, source: impl Source + Send + 'static) -> anyhow::Result<Receiver<()>> {
    let (running, ended) = oneshot::channel::<()>();
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("build".to_owned())
        .spawn(move || {
            let _running = running;
            shared.run(source);
        })
        .context("cannot start the build thread")?;
    Ok(ended)
}
