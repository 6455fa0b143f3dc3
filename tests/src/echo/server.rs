//! `mesh-echo server`: dual-stack listeners that answer with what the server's socket says of the caller.

mod http;
mod tcp;
mod udp;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// Options of `mesh-echo server`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Serve TCP here: bytes come back; the line `WHO` is answered with both addresses
    #[arg(long, value_name = "PORT")]
    tcp: Vec<u16>,
    /// Serve HTTP/1.1 here; `/healthz` answers 200 until `/fail` was asked for, and again after `/recover`
    #[arg(long, value_name = "PORT")]
    http: Vec<u16>,
    /// Serve UDP here
    #[arg(long, value_name = "PORT")]
    udp: Vec<u16>,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    bind: IpAddr,
    /// Wait this long before every answer, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
    /// Greet every TCP client before it has sent anything
    #[arg(long)]
    speak_first: bool,
    /// Length of the accept queue
    #[arg(long, default_value_t = 4096)]
    backlog: i32,
    /// Wait this long between two accepts, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    accept_delay: u64,
    /// After SIGTERM keep serving open connections this long, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    drain: u64,
}

/// What every listener's connections share.
#[derive(Debug)]
struct Shared {
    hostname: String,
    args: Args,
    healthy: std::sync::atomic::AtomicBool,
}

impl Shared {
    async fn delay(&self) {
        if self.args.delay > 0 {
            tokio::time::sleep(Duration::from_millis(self.args.delay)).await;
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let start = Instant::now();
    let fail = |step| move |error| Failure::new(step, error, start);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail("start"))?;
    let hostname = nix::unistd::gethostname().map_err(io::Error::from).map_err(fail("gethostname"))?;
    let shared = Arc::new(Shared {
        hostname: hostname.to_string_lossy().into_owned(),
        healthy: std::sync::atomic::AtomicBool::new(true),
        args,
    });
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).map_err(fail("signal"))?;
        let mut accepting = Vec::new();
        for &port in &shared.args.tcp {
            accepting.push(tokio::spawn(tcp::serve(
                listen(&shared, port).map_err(fail("listen"))?,
                Arc::clone(&shared),
            )));
        }
        for &port in &shared.args.http {
            accepting.push(tokio::spawn(http::serve(
                listen(&shared, port).map_err(fail("listen"))?,
                Arc::clone(&shared),
            )));
        }
        for &port in &shared.args.udp {
            let socket = tokio::net::UdpSocket::bind(SocketAddr::new(shared.args.bind, port)).await;
            accepting.push(tokio::spawn(udp::serve(socket.map_err(fail("bind"))?, Arc::clone(&shared))));
        }
        println!("serving tcp {:?} http {:?} udp {:?}", shared.args.tcp, shared.args.http, shared.args.udp);
        term.recv().await;
        for listener in accepting {
            listener.abort();
        }
        tokio::time::sleep(Duration::from_millis(shared.args.drain)).await;
        Ok(())
    })
}

fn listen(shared: &Shared, port: u16) -> io::Result<tokio::net::TcpListener> {
    let address = SocketAddr::new(shared.args.bind, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(shared.args.backlog)?;
    tokio::net::TcpListener::from_std(socket.into())
}

/// The next connection; a full file table is waited out rather than spun on.
async fn accept(listener: &tokio::net::TcpListener, shared: &Shared) -> (tokio::net::TcpStream, SocketAddr) {
    loop {
        if shared.args.accept_delay > 0 {
            tokio::time::sleep(Duration::from_millis(shared.args.accept_delay)).await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, shown(peer)),
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A v4-mapped address as the IPv4 address it is.
fn shown(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The answer to `WHO`.
fn who(peer: SocketAddr, local: Option<SocketAddr>, shared: &Shared) -> String {
    let local = local.map_or_else(|| "-".to_owned(), |local| shown(local).to_string());
    format!("peer={} local={local} host={}\n", shown(peer), shared.hostname)
}
