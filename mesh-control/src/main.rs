//! The controller.
//!
//! One thread follows the source and builds; the runtime serves agents and the admin socket, writes
//! status, and watches the API server where that is the source.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use mesh_api::duration;
use mesh_control::{
    admin,
    ads::{Ads, listen},
    ca::{self, Authority, Directories, Timestamp},
    cluster::Cluster,
    health,
    pipeline::Shared,
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

/// The controller of the mesh: reads the objects, sends every node's agent what it needs.
#[derive(Debug, Parser)]
#[command(version)]
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
    /// there where none is. Default: <run dir>/ca.
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
    let arguments = Arguments::parse();
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
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let run_dir = arguments.run_dir;
    let place = arguments.listen.unwrap_or_else(|| Listen::Unix(run_dir.join("ads.sock")));
    let admin_socket = run_dir.join("control.sock");
    let shared = Arc::new(Shared::default());

    let directories = Directories {
        authority: arguments.ca_dir.unwrap_or_else(|| run_dir.join("ca")),
        join: run_dir.join("join"),
        agent_uid: arguments.agent_uid,
        join_ttl: arguments.join_ttl,
    };
    let authority = Authority::open(directories, shared.placements.clone(), Timestamp::now());
    let mut authority = authority.context("cannot open the certificate authority (--ca-dir)")?;
    let source = match arguments.source {
        Origin::Directory(path) => Found::Directory(path),
        Origin::Kubernetes => {
            let cluster = Cluster::connect(arguments.namespace, arguments.agent_account).await;
            let cluster = cluster.context("cannot follow a cluster (--source kubernetes)")?;
            authority = authority.with_agents(cluster.agents());
            Found::Cluster(cluster)
        }
    };
    let authority = Arc::new(authority);
    let agents = place.bind(arguments.agent_uid).await?;
    let admin = listen(&admin_socket, None)?;
    if let Some(address) = arguments.health {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on --health {address}"))?;
        tokio::spawn(health::serve(listener, shared.store.clone()));
    }
    let ended = match source {
        Found::Directory(path) => {
            tokio::spawn(status::write_files(
                run_dir.join("status"),
                shared.conditions(),
                shared.store.clone(),
                shared.acks.clone(),
            ));
            build(&shared, Watch::new(Directory::new(path, run_dir.join("kubelet"))))?
        }
        Found::Cluster(cluster) => {
            let host = nix::unistd::gethostname().context("cannot tell this host's name")?;
            build(&shared, cluster.follow(host.to_string_lossy().into_owned(), &shared, &authority))?
        }
    };
    tokio::spawn(ca::run(authority.clone(), shared.clone()));
    tokio::spawn(admin::serve(admin, shared.clone(), authority.clone()));
    let ads = Ads::new(shared.store.clone(), shared.acks.clone(), authority.clone());
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tracing::info!(at = %place, "serving agents");
    let serving = serve::serve(agents, authority, ads);
    // Streams are cut on a signal: agents keep what they have and resume with the next controller.
    tokio::select! {
        served = serving => served.context("the agents' socket failed")?,
        () = stopped => tracing::info!("stopping"),
        _ = ended => anyhow::bail!("the build thread ended, see the message before; restart the controller"),
    }
    let agents_socket = if let Listen::Unix(path) = &place { Some(path) } else { None };
    for socket in agents_socket.into_iter().chain([&admin_socket]) {
        let _ = std::fs::remove_file(socket);
    }
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
