//! The unprivileged half of the agent: turns discovery into what wire enforces, and wire's reports
//! into metrics, the access log and answers.
//!
//! It parses what comes from elsewhere, so it runs with no capability, on one thread.
//!
//! | module | what it does |
//! |---|---|
//! | [`discovery`] | the stream from the controller |
//! | [`resource`] | what comes over it, parsed |
//! | [`compile`] | resources to entries of fixed shape, purely |
//! | [`desired`] | what is to be enforced, and what wire was told of it |
//! | [`link`] | the connection to wire |
//! | [`names`] | what numbers in reports stand for |
//! | [`telemetry`] | metrics and the access log |
//! | [`scrape`], [`admin`] | what relay serves, both over [`serve`] |

mod admin;
mod backoff;
mod compile;
mod desired;
mod discovery;
mod link;
mod names;
mod node;
mod privileges;
mod resource;
mod scrape;
mod serve;
mod telemetry;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

use discovery::Control;
use node::Node;

/// Options of `mesh-agent relay`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The node's name.
    #[arg(long)]
    node: String,
    /// The node's run directory: holds wire.sock, gets admin.sock and access.log.
    #[arg(long)]
    run_dir: PathBuf,
    /// Where the controller listens: unix:PATH.
    #[arg(long)]
    control: Control,
    /// Where /metrics and /ready are served, such as `[::]:15020`.
    #[arg(long)]
    metrics: SocketAddr,
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
        let _node = start(options).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        tracing::info!("relay ends; wire goes on enforcing");
        Ok(())
    })
}

/// Starts every task of relay on the [`LocalSet`] it is called in.
async fn start(options: &Options) -> anyhow::Result<Rc<Node>> {
    let (node, questions) = Node::new(&options.node);
    let node = Rc::new(node);
    node.telemetry.borrow_mut().log_to(&options.run_dir.join("access.log"))?;
    let metrics = serve::tcp(options.metrics).await?;
    let admin = serve::unix(&options.run_dir.join("admin.sock"))?;
    tracing::info!(node = %node.name, metrics = %options.metrics, "relay starts");

    let shared = Rc::clone(&node);
    tokio::task::spawn_local(serve::serve(metrics, move |request| {
        scrape::respond(Rc::clone(&shared), request)
    }));
    let shared = Rc::clone(&node);
    tokio::task::spawn_local(serve::serve(admin, move |request| admin::respond(Rc::clone(&shared), request)));
    tokio::task::spawn_local(discovery::run(Rc::clone(&node), options.control.clone()));
    let shared = Rc::clone(&node);
    let socket = options.run_dir.join("wire.sock");
    tokio::task::spawn_local(async move { link::run(shared, &socket, questions).await });
    Ok(node)
}
