//! `server`: the listeners that the suite's Deployments ask for.

mod grpc;
mod http;
mod tcp;
mod tls;

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::TlsAcceptor;

use super::{Failure, lines::Lines};

/// Options of `server`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Serve HTTP/1.1 and HTTP/2 here
    #[arg(long)]
    port: Vec<u16>,
    /// Of the ports for HTTP, one that speaks TLS
    #[arg(long, requires = "crt", requires = "key")]
    tls: Vec<u16>,
    /// Serve gRPC here
    #[arg(long)]
    grpc: Vec<u16>,
    /// Serve TCP here
    #[arg(long)]
    tcp: Vec<u16>,
    /// The certificate for TLS, PEM
    #[arg(long)]
    crt: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long)]
    key: Option<PathBuf>,
    /// What is told as the service's version
    #[arg(long, default_value = "")]
    version: String,
}

/// What every connection knows of the server.
#[derive(Debug)]
struct Server {
    hostname: String,
    version: String,
}

/// What a listener speaks.
#[derive(Clone)]
enum Speaks {
    Http,
    Https(TlsAcceptor),
    Grpc,
    Tcp,
}

/// A connection's two ends.
#[derive(Debug, Clone, Copy)]
struct Ends {
    caller: IpAddr,
    port: u16,
}

impl Server {
    /// What every answer ends with.
    fn sign(&self, lines: &mut Lines) {
        lines.tell("Hostname", &self.hostname);
    }

    /// What every answer says of where it came.
    fn place(&self, lines: &mut Lines, ends: Ends) {
        lines.tell("ServiceVersion", &self.version);
        lines.tell("ServicePort", ends.port);
    }
}

/// Serves until it is asked to end, then at once: the first process of a container has no other way to end.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let acceptor = match (&args.crt, &args.key) {
        (Some(certificate), Some(key)) if !args.tls.is_empty() => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let http = args.port.iter().map(|port| match &acceptor {
        Some(acceptor) if args.tls.contains(port) => (*port, Speaks::Https(acceptor.clone())),
        _ => (*port, Speaks::Http),
    });
    let grpc = args.grpc.iter().map(|port| (*port, Speaks::Grpc));
    let all = http.chain(grpc).chain(args.tcp.iter().map(|port| (*port, Speaks::Tcp)));
    let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let server = Arc::new(Server { hostname, version: args.version.clone() });
    for (port, speaks) in all {
        let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
            .await
            .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
        tokio::spawn(accept(listener, speaks, Arc::clone(&server)));
    }
    println!("serving HTTP {:?} (TLS {:?}), gRPC {:?}, TCP {:?}", args.port, args.tls, args.grpc, args.tcp);
    let mut term = signal(SignalKind::terminate())?;
    term.recv().await;
    Ok(())
}

async fn accept(listener: TcpListener, speaks: Speaks, server: Arc<Server>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // A full file table is waited out rather than spun on.
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (speaks, server) = (speaks.clone(), Arc::clone(&server));
        tokio::spawn(async move {
            if let Err(error) = serve(stream, peer, speaks, server).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    speaks: Speaks,
    server: Arc<Server>,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let ends = Ends { caller: peer.ip(), port: stream.local_addr()?.port() };
    match speaks {
        Speaks::Http => http::serve(stream, None, ends, server).await,
        Speaks::Https(acceptor) => {
            let stream = acceptor.accept(stream).await?;
            let alpn =
                stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
            http::serve(stream, alpn, ends, server).await
        }
        Speaks::Grpc => grpc::serve(stream, ends, server).await,
        Speaks::Tcp => tcp::serve(stream, ends, &server).await,
    }
}
