//! What one worker does all day.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_ebpf::abi::Reason;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{Instant, interval, sleep, timeout_at};

use super::{Command, Shared};
use crate::relay::engine::Engine;
use crate::relay::engine::limits::Limits;
use crate::relay::tunnel::channel::Channel;
use crate::relay::tunnel::closer::Closer;
use crate::relay::tunnel::copy::Scratch;
use crate::relay::tunnel::limits::{Handshakes, Tunnels};
use crate::relay::tunnel::open::Open;
use crate::relay::tunnel::pool::Pool;
use crate::relay::tunnel::sockets::{FromWire, Sockets};
use crate::relay::tunnel::stock::Stocks;
use crate::relay::tunnel::{Pod, Worker};
use crate::relay::tunnel::{inbound, outbound};

/// How long farewells may take after what was open has ended.
pub(super) const FAREWELL_WITHIN: Duration = Duration::from_millis(500);
/// How long a pod's earlier listeners are served besides those that replace them.
const EARLIER_FOR: Duration = Duration::from_millis(500);
/// Changes of policy that come together are judged together.
const GATHER: Duration = Duration::from_millis(50);

pub(super) fn run(runtime: &Runtime, shared: Shared, commands: mpsc::Receiver<Command>) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let stocks = Stocks::new(Channel::new(shared.sockets));
        let worker = Rc::new(Worker {
            sockets: FromWire::new(stocks, shared.files),
            world: shared.world,
            identities: shared.identities,
            trust: shared.trust,
            reporter: shared.reporter,
            files: shared.files,
            handshakes: Handshakes::new(shared.handshakes),
            tunnels: Tunnels::default(),
            scratch: Scratch::default(),
            open: Rc::new(Open::default()),
            pool: Pool::default(),
            engine: Engine::new(Limits::default()),
            routing: shared.routing,
            draining: Closer::default(),
        });
        spawn_local(judge(Rc::clone(&worker)));
        spawn_local(doubt(Rc::clone(&worker)));
        obey(&worker, commands).await;
    });
}

async fn obey<S: Sockets>(worker: &Rc<Worker<S>>, mut commands: mpsc::Receiver<Command>) {
    let mut pods: HashMap<Arc<str>, Accepting> = HashMap::new();
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = ticks.tick() => {
                worker.sockets.tick();
                continue;
            }
        };
        match command {
            Some(Command::Serve { pod, outbound, tunnel }) => {
                let uid = Arc::clone(&pod.uid);
                match Accepting::start(worker, pod, outbound, tunnel) {
                    Ok(accepting) => {
                        if let Some(earlier) = pods.insert(uid, accepting) {
                            // What waits there was handed over before wire put the new ones in their place.
                            spawn_local(async move {
                                sleep(EARLIER_FOR).await;
                                drop(earlier);
                            });
                        }
                    }
                    Err(error) => tracing::error!(pod = %uid, %error, "watching a pod's listeners"),
                }
            }
            Some(Command::Forget { uid }) => {
                pods.remove(&uid);
                worker.forget(&uid);
            }
            Some(Command::Drain { within }) => {
                pods.clear();
                return drain(worker, within).await;
            }
            None => return,
        }
    }
}

/// A pod's two listeners, until it is dropped.
struct Accepting([AbortHandle; 2]);

impl Accepting {
    fn start<S: Sockets>(
        worker: &Rc<Worker<S>>,
        pod: Pod,
        out: std::net::TcpListener,
        tunnel: std::net::TcpListener,
    ) -> std::io::Result<Self> {
        let (out, tunnel) = (TcpListener::from_std(out)?, TcpListener::from_std(tunnel)?);
        let out = spawn_local(outbound::accept(Rc::clone(worker), pod.clone(), out));
        let tunnel = spawn_local(inbound::accept(Rc::clone(worker), pod, tunnel));
        Ok(Self([out.abort_handle(), tunnel.abort_handle()]))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Takes no tunnel any more, waits for what is open, closes the rest. What the other ends ask for before they have heard
/// the farewell is served like what was open before: they could not know.
async fn drain<S: Sockets>(worker: &Worker<S>, within: Duration) {
    let until = Instant::now() + within;
    worker.draining.close(Reason::Draining);
    worker.pool.retire_all();
    worker.engine.drain();
    let finished = async {
        // Tunnels too: one that is still there may bring such a request.
        while !worker.open.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout_at(until, finished).await.is_err() {
        tracing::info!(open = worker.open.streams(), "closing what did not finish in time");
    }
    worker.open.close_streams(Reason::Draining);
    // Resets, farewells and final reports on their way.
    let until = Instant::now() + FAREWELL_WITHIN;
    let gone = async {
        while !worker.open.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout_at(until, gone).await;
}

/// Asks again who may be here, whenever something changed that may change the answer.
async fn judge<S: Sockets>(worker: Rc<Worker<S>>) {
    let mut changed = worker.world.changed();
    while changed.changed().await.is_ok() {
        sleep(GATHER).await;
        changed.borrow_and_update();
        worker.judge_again();
    }
}

/// Asks again who is believed, whenever the trust bundle changed.
async fn doubt<S: Sockets>(worker: Rc<Worker<S>>) {
    let mut changed = worker.trust.changed();
    while changed.changed().await.is_ok() {
        let bundle = changed.borrow_and_update().clone();
        worker.doubt(&bundle);
    }
}
