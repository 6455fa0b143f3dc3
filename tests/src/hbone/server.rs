//! `mesh-hbone server`: serves tunnels as it is told, and says who asked for what.

use std::{collections::BTreeMap, error::Error, future::poll_fn, io::Write as _, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{client::words, credentials::Credentials, peer::Peer};

/// Options of `mesh-hbone server`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, default_value = "[::]:15008")]
    listen: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
    /// The status of every answer; with 200, bytes come back as they were sent
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// A header of every answer, `NAME=VALUE`
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Instead, reset every stream with this error code
    #[arg(long, conflicts_with = "status")]
    reset: Option<u32>,
    /// Instead, do not speak TLS, but say this and close
    #[arg(long)]
    plain: Option<String>,
    /// Instead, take the connection and say nothing, not even for TLS
    #[arg(long)]
    hold_handshake: bool,
    /// Instead, never answer a request
    #[arg(long)]
    mute: bool,
    /// How many tunnels a connection may have at once (SETTINGS_MAX_CONCURRENT_STREAMS)
    #[arg(long, value_name = "COUNT")]
    max_streams: Option<u32>,
    /// How many bytes a client may have under way in a tunnel (SETTINGS_INITIAL_WINDOW_SIZE)
    #[arg(long, value_name = "BYTES")]
    window: Option<u32>,
}

impl Args {
    fn settings(&self) -> h2::server::Builder {
        let mut settings = h2::server::Builder::new();
        if let Some(streams) = self.max_streams {
            settings.max_concurrent_streams(streams);
        }
        if let Some(window) = self.window {
            settings.initial_window_size(window);
        }
        settings
    }
}

/// What was seen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Seen {
    /// It listens.
    Serving { listen: SocketAddr },
    /// A handshake failed.
    Refused { from: SocketAddr, error: String },
    /// A connection was made.
    Connected { from: SocketAddr, peer: Option<Peer>, server_name: Option<String> },
    /// A tunnel was asked for.
    Request { method: String, authority: String, path: String, headers: BTreeMap<String, String> },
    /// A connection ended.
    Ended { from: SocketAddr, error: Option<String> },
}

fn say(seen: &Seen) {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(seen).unwrap_or_default();
    // Whoever reads may be gone; there is nobody else to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub(super) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let acceptor = match args.plain {
        Some(_) => None,
        None => Some(TlsAcceptor::from(args.credentials.server()?)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        say(&Seen::Serving { listen: args.listen });
        let args = Arc::new(args.clone());
        loop {
            let (stream, from) = listener.accept().await?;
            tokio::spawn(serve(stream, from, acceptor.clone(), Arc::clone(&args)));
        }
    })
}

async fn serve(mut stream: TcpStream, from: SocketAddr, acceptor: Option<TlsAcceptor>, args: Arc<Args>) {
    if args.hold_handshake {
        // Until the client goes: then there is nothing more to hold.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        return say(&Seen::Ended { from, error: None });
    }
    let Some(acceptor) = acceptor else {
        // Its client may not even wait for that.
        let _ = stream.write_all(args.plain.as_deref().unwrap_or_default().as_bytes()).await;
        let _ = stream.shutdown().await;
        return;
    };
    let tls = match acceptor.accept(stream).await {
        Ok(tls) => tls,
        Err(error) => return say(&Seen::Refused { from, error: error.to_string() }),
    };
    let connection = tls.get_ref().1;
    let (peer, server_name) = (Peer::of(connection), connection.server_name().map(str::to_owned));
    say(&Seen::Connected { from, peer, server_name });
    let error = match args.settings().handshake(tls).await {
        Ok(mut connection) => loop {
            match connection.accept().await {
                Some(Ok((request, respond))) => {
                    let args = Arc::clone(&args);
                    tokio::spawn(async move {
                        // How a stream ends is its client's business.
                        let _ = answer(request, respond, &args).await;
                    });
                }
                Some(Err(error)) => break Some(error.to_string()),
                None => break None,
            }
        },
        Err(error) => Some(error.to_string()),
    };
    say(&Seen::Ended { from, error });
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    args: &Args,
) -> Result<(), Box<dyn Error>> {
    say(&Seen::Request {
        method: request.method().to_string(),
        authority: request.uri().authority().map(ToString::to_string).unwrap_or_default(),
        path: request.uri().path().to_owned(),
        headers: words(request.headers()),
    });
    if args.mute {
        // Until the client gives up.
        return Ok(poll_fn(|context| respond.poll_reset(context)).await.map(drop)?);
    }
    if let Some(code) = args.reset {
        respond.send_reset(code.into());
        return Ok(());
    }
    let mut response = Response::builder().status(args.status);
    for header in &args.headers {
        let (name, value) = header.split_once('=').unwrap_or((header, ""));
        response = response.header(name, value);
    }
    let outgoing = respond.send_response(response.body(())?, args.status != 200)?;
    if args.status == 200 { echo(request.into_body(), outgoing).await } else { Ok(()) }
}

async fn echo(mut incoming: RecvStream, mut outgoing: SendStream<Bytes>) -> Result<(), Box<dyn Error>> {
    while let Some(chunk) = incoming.data().await {
        let mut chunk = chunk?;
        incoming.flow_control().release_capacity(chunk.len())?;
        while !chunk.is_empty() {
            outgoing.reserve_capacity(chunk.len());
            let capacity = poll_fn(|context| outgoing.poll_capacity(context)).await;
            let capacity = capacity.ok_or("the stream is closed")??;
            outgoing.send_data(chunk.split_to(capacity.min(chunk.len())), false)?;
        }
    }
    outgoing.send_data(Bytes::new(), true)?;
    Ok(())
}
