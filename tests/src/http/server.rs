//! `mesh-http server`: tells what it was asked, in whatever version it was asked.

mod answer;
mod grpc;
mod hints;
mod tls;
mod upgraded;

use std::{
    collections::HashMap,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    signal::unix::{SignalKind, signal},
};

/// Streams that an HTTP/2 connection may have at once.
const STREAMS: u32 = 2_000;

/// Length of the accept queue.
const BACKLOG: u32 = 4096;

/// Options of `mesh-http server`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Serve HTTP/1.1 and HTTP/2 here
    #[arg(long, value_name = "PORT", default_value = "8080")]
    port: Vec<u16>,
    /// Serve HTTP in TLS here
    #[arg(long, value_name = "PORT")]
    tls: Option<u16>,
    /// Answer every request here with 103 first, and what was asked later, in HTTP/1.1
    #[arg(long, value_name = "PORT")]
    hints: Option<u16>,
    /// The status of every answer, where the request does not ask for another
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// After SIGTERM go on so long, in milliseconds, as servers do that let their clients find others
    #[arg(long, default_value_t = 0, value_name = "MS")]
    drain: u64,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    pod: String,
    args: Args,
    /// Requests that came, by the key that they are counted under.
    counts: Mutex<HashMap<String, u64>>,
}

impl Shared {
    /// How many with this key came before this one.
    fn count(&self, key: &str) -> u64 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.to_owned()).or_default();
        *count += 1;
        *count - 1
    }
}

pub(super) async fn run(args: Args) -> io::Result<()> {
    let pod = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let mut term = signal(SignalKind::terminate())?;
    let shared = Arc::new(Shared { pod, args, counts: Mutex::default() });
    for &port in &shared.args.port {
        let (listener, shared) = (listen(port)?, Arc::clone(&shared));
        tokio::spawn(async move {
            loop {
                let (stream, peer) = accept(&listener).await;
                tokio::spawn(converse(stream, peer, Arc::clone(&shared)));
            }
        });
    }
    if let Some(port) = shared.args.tls {
        tokio::spawn(tls::serve(listen(port)?, Arc::clone(&shared)));
    }
    if let Some(port) = shared.args.hints {
        tokio::spawn(hints::serve(listen(port)?, Arc::clone(&shared)));
    }
    println!("serving http {:?} tls {:?} hints {:?}", shared.args.port, shared.args.tls, shared.args.hints);
    term.recv().await;
    tokio::time::sleep(std::time::Duration::from_millis(shared.args.drain)).await;
    Ok(())
}

/// On both families, with room for everybody who connects at once.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

/// Serves the version that the client's first octets show.
async fn converse<S>(stream: S, peer: SocketAddr, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { answer::answer(request, peer, shared).await }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().enable_connect_protocol().max_concurrent_streams(STREAMS);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        println!("{peer}: {error}");
    }
}
