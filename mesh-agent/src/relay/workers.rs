//! The threads that carry the tunnel's bytes.
//!
//! Each worker is one thread with a runtime of its own and everything it needs
//! ([`Worker`](super::tunnel::Worker)); a connection stays on the thread that accepted it. The
//! control thread tells them which pods to serve ([`listeners`]), and at the end to drain: they
//! stop accepting (the listeners stay in wire, for the next relay), say GOAWAY, wait for what is
//! open, and close the rest with a RST.

pub(crate) mod listeners;
pub(crate) mod memory;
mod thread;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::identity::Identities;
use super::routing::Routing;
use super::tls::Trust;
use super::tunnel::Pod;
use super::tunnel::counts::Counts;
use super::tunnel::limits::{Budget, Files};
use super::tunnel::report::{Reporter, Reports};
use super::world::World;

/// Commands that may wait for a worker.
const COMMANDS: usize = 256;

/// What every worker is given.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// Who is where.
    pub world: Arc<World>,
    /// Services and their routes.
    pub routing: Arc<Routing>,
    /// What to show.
    pub identities: Arc<Identities>,
    /// Whom to believe.
    pub trust: Arc<Trust>,
    /// Where connections are told of.
    pub reporter: Reporter,
    /// Where wire gives sockets.
    pub sockets: PathBuf,
    /// Open files left.
    pub files: Files,
    /// Handshakes under way in all of them.
    pub handshakes: Arc<Budget>,
}

/// What a worker is told.
#[derive(Debug)]
enum Command {
    /// Takes connections of a pod, at these listeners instead of any before.
    Serve { pod: Pod, outbound: TcpListener, tunnel: TcpListener },
    /// The pod has ended.
    Forget { uid: Arc<str> },
    /// Ends, within this time.
    Drain { within: Duration },
}

/// The workers.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::Sender<Command>,
    handle: std::thread::JoinHandle<()>,
}

/// A worker cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("starting worker {number}: {source}")]
pub(crate) struct StartError {
    number: usize,
    source: std::io::Error,
}

impl Workers {
    /// Starts `count` of them.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub(crate) fn start(count: usize, shared: &Shared) -> Result<Self, StartError> {
        let start = |number: usize| {
            let failed = |source| StartError { number, source };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let (commands, told) = mpsc::channel(COMMANDS);
            let shared = shared.clone();
            let handle = std::thread::Builder::new()
                .name(format!("tunnel-{number}"))
                .spawn(move || thread::run(&runtime, shared, told))
                .map_err(failed)?;
            Ok(Thread { commands, handle })
        };
        Ok(Self { threads: (0..count.max(1)).map(start).collect::<Result<_, _>>()? })
    }

    /// Serves a pod at its two listeners, outbound first.
    ///
    /// # Errors
    /// When a worker's own copy of a descriptor cannot be had.
    async fn serve(&self, pod: &Pod, [outbound, tunnel]: [OwnedFd; 2]) -> std::io::Result<()> {
        for thread in &self.threads {
            let (outbound, tunnel) = (outbound.try_clone()?.into(), tunnel.try_clone()?.into());
            // A worker that is gone has said why.
            let _ = thread.commands.send(Command::Serve { pod: pod.clone(), outbound, tunnel }).await;
        }
        Ok(())
    }

    async fn forget(&self, uid: &Arc<str>) {
        for thread in &self.threads {
            let _ = thread.commands.send(Command::Forget { uid: Arc::clone(uid) }).await;
        }
    }

    /// Ends them, letting what is open finish for so long.
    pub(crate) async fn drain(&self, within: Duration) {
        for thread in &self.threads {
            let _ = thread.commands.send(Command::Drain { within }).await;
        }
        let ended = async {
            while self.threads.iter().any(|thread| !thread.handle.is_finished()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(within + thread::FAREWELL_WITHIN * 2, ended).await.is_err() {
            tracing::warn!("a worker did not end in time");
        }
    }
}

/// Channels for reports, and their workers' end.
pub(crate) fn reports(counts: &Arc<Counts>) -> (Reporter, Reports) {
    Reporter::new(super::tunnel::report::REPORTS, Arc::clone(counts))
}
