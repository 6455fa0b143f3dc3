//! `mesh-hbone client`: one tunnel, step by step, each told.

use std::{collections::BTreeMap, error::Error, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, uri::Authority};
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{credentials::Credentials, peer::Peer};
use crate::socket::errno;

/// Options of `mesh-hbone client`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tunnel port of a pod
    to: SocketAddr,
    /// Where the tunnel shall lead
    #[arg(long)]
    authority: Authority,
    #[command(flatten)]
    credentials: Credentials,
    /// A header of the request, `NAME=VALUE`
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// What is sent through the tunnel; the line that comes back is printed
    #[arg(long, default_value = "WHO")]
    send: String,
    /// Longest wait for each step, in milliseconds
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    timeout: u64,
    /// After the answer, keep the tunnel until this file exists, or the tunnel ends; how, is printed
    #[arg(long, value_name = "FILE")]
    until: Option<PathBuf>,
}

#[cfg(test)]
impl Args {
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }
}

/// How far it came.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// The client's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<SocketAddr>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Its headers.
    headers: BTreeMap<String, String>,
    /// What came through the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// Which step failed, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// A step that failed, in words.
type Failed = String;

pub(super) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let config = args.credentials.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut told = Told::default();
    told.failed = runtime.block_on(tunnel(args, config, &mut told)).err();
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

async fn tunnel(
    args: &Args,
    config: std::sync::Arc<rustls::ClientConfig>,
    told: &mut Told,
) -> Result<(), Failed> {
    let tls = connect(args, config, told).await?;
    let limit = Duration::from_millis(args.timeout);
    let failed = |error: h2::Error| format!("h2: {error}");
    let (mut sender, connection) = h2::client::handshake(tls).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(args.authority.as_str())
        .body(())
        .map_err(|e| e.to_string())?;
    for header in &args.headers {
        let (name, value) = header.split_once('=').unwrap_or((header, ""));
        let name: http::HeaderName = name.parse().map_err(|error| format!("{name}: {error}"))?;
        request.headers_mut().append(name, value.parse().map_err(|error| format!("{value}: {error}"))?);
    }
    let (response, mut body) = sender.send_request(request, false).map_err(failed)?;
    let response = timeout(limit, response).await.map_err(|_| "no answer".to_owned())?.map_err(failed)?;
    told.status = Some(response.status().as_u16());
    told.headers = words(response.headers());
    if response.status() != 200 {
        return Ok(());
    }
    body.send_data(Bytes::from(format!("{}\n", args.send)), false).map_err(failed)?;
    let mut incoming = response.into_body();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        let chunk = timeout(limit, incoming.data()).await.map_err(|_| "nothing came back".to_owned())?;
        let Some(chunk) = chunk.transpose().map_err(failed)? else { break };
        // A closed stream is seen at the next read.
        let _ = incoming.flow_control().release_capacity(chunk.len());
        answer.extend_from_slice(&chunk);
    }
    told.answer = Some(String::from_utf8_lossy(&answer).trim_end().to_owned());
    if let Some(file) = &args.until {
        keep(file, &mut incoming).await?;
    }
    // Both directions end before the connection does.
    body.send_data(Bytes::new(), true).map_err(failed)?;
    drop((sender, incoming));
    let _ = timeout(Duration::from_millis(200), connection).await;
    Ok(())
}

/// Waits for the file, watching the tunnel.
async fn keep(file: &std::path::Path, incoming: &mut h2::RecvStream) -> Result<(), Failed> {
    println!("{{\"holding\":true}}");
    loop {
        match timeout(Duration::from_millis(20), incoming.data()).await {
            Err(_) if file.exists() => return Ok(()),
            Err(_) => {}
            Ok(Some(Ok(chunk))) => drop(incoming.flow_control().release_capacity(chunk.len())),
            Ok(Some(Err(error))) => return Err(format!("held: {error}")),
            Ok(None) => return Err("held: closed".to_owned()),
        }
    }
}

async fn connect(
    args: &Args,
    config: std::sync::Arc<rustls::ClientConfig>,
    told: &mut Told,
) -> Result<TlsStream<TcpStream>, Failed> {
    let limit = Duration::from_millis(args.timeout);
    let late = |step: &'static str| move |_| format!("{step}: timed out");
    let tcp = timeout(limit, TcpStream::connect(args.to)).await.map_err(late("tcp"))?;
    let tcp = tcp.map_err(|error| format!("tcp: {}", errno(&error)))?;
    told.local = tcp.local_addr().ok();
    let name = ServerName::IpAddress(args.to.ip().into());
    let tls = timeout(limit, TlsConnector::from(config).connect(name, tcp)).await.map_err(late("tls"))?;
    let tls = tls.map_err(|error| format!("tls: {error}"))?;
    told.peer = Peer::of(tls.get_ref().1);
    Ok(tls)
}

/// Headers as they are printed.
pub(super) fn words(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
