//! `mesh-echo storm`: many short connections (connect, one round trip, close), and a count of how they went.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Failure, Target, failure::milliseconds};

/// Options of `mesh-echo storm`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// How many connections in all
    #[arg(long, default_value_t = 1000)]
    connections: u64,
    /// How many at a time
    #[arg(long, default_value_t = 16)]
    concurrency: u64,
    /// Longest time for one connection, in milliseconds
    #[arg(long, default_value_t = 15_000, value_name = "MS")]
    timeout: u64,
    /// Keep every connection open after its round trip until all are, then for this long, in milliseconds
    #[arg(long, value_name = "MS")]
    keep: Option<u64>,
}

/// What all connections together came to.
#[derive(Debug, Default)]
struct Tally {
    started: AtomicU64,
    ok: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let address = args.target.resolve()?;
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("start", error, start))?;
    let tally = Arc::new(Tally::default());
    runtime.block_on(storm(&args, address, &tally));

    let ok = tally.ok.load(Ordering::Relaxed);
    println!("ok={ok} failed={} in {}", args.connections - ok, milliseconds(start.elapsed()));
    for (error, count) in tally.errors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{count} x {error}");
    }
    if ok == args.connections {
        return Ok(());
    }
    Err(Failure::new("storm", io::Error::other("some connections failed"), start))
}

async fn storm(args: &Args, address: SocketAddr, tally: &Arc<Tally>) {
    let (total, keep) = (args.connections, args.keep.is_some());
    let timeout = Duration::from_millis(args.timeout);
    let workers = (0..args.concurrency.min(total)).map(|_| {
        let tally = Arc::clone(tally);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while tally.started.fetch_add(1, Ordering::Relaxed) < total {
                match one(address, timeout).await {
                    Ok(stream) => {
                        tally.ok.fetch_add(1, Ordering::Relaxed);
                        if keep {
                            kept.push(stream);
                        }
                    }
                    Err((step, error)) => {
                        let name =
                            format!("{step}: {}", Failure::new(step, error, Instant::now()).errno_name());
                        *tally
                            .errors
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .entry(name)
                            .or_default() += 1;
                    }
                }
            }
            kept
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut kept = Vec::new();
    for worker in workers {
        if let Ok(streams) = worker.await {
            kept.extend(streams);
        }
    }
    if let Some(milliseconds) = args.keep {
        println!("open={}", kept.len());
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

async fn one(address: SocketAddr, timeout: Duration) -> Result<TcpStream, (&'static str, io::Error)> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connect = tokio::time::timeout(timeout, TcpStream::connect(address));
    let mut stream = connect.await.map_err(late).flatten().map_err(|error| ("connect", error))?;
    let exchange = tokio::time::timeout(timeout, async {
        stream.write_all(b"x\n").await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await
    });
    exchange.await.map_err(late).flatten().map_err(|error| ("round trip", error))?;
    Ok(stream)
}
