//! A node's agent as far as the controller sees one, written for these tests: it joins, asks for certificates and for
//! discovery, over the real gRPC.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use hyper_util::rt::TokioIo;
use mesh_api::{
    certificates::{CertificateReply, IssueRequest, JoinRequest, NodeIdentityClient},
    discovery::{AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node},
};
use mesh_tests::{addresses::Plan, hbone::Credentials, testbed::Testbed};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// A join file (`RUN/join/<node>`).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JoinFile {
    pub(crate) node: String,
    pub(crate) token: String,
    pub(crate) roots: String,
}

impl JoinFile {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    }
}

/// Where a controller listens, and how to make connections to it.
pub(crate) struct Controller(Box<dyn Fn() -> TcpStream>);

impl Controller {
    /// The testbed's, which listens in the fabric.
    pub(crate) fn of(bed: &'static Testbed) -> Self {
        let layout = bed.layout();
        let slot: u8 = fs::read_to_string(layout.run().join("slot")).unwrap().trim().parse().unwrap();
        let (address, netns) = ((Plan::new(slot).beyond().v4, 15_012), layout.fabric());
        Self(Box::new(move || bed.in_netns(&netns, move || TcpStream::connect(address)).unwrap().unwrap()))
    }

    /// One in the network of the test itself.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self(Box::new(move || TcpStream::connect(address).unwrap()))
    }
}

/// A connection to a controller.
pub(crate) struct Agent {
    runtime: Runtime,
    channel: Channel,
}

impl Agent {
    /// Connects with these credentials; the controller's certificate must come from their roots.
    pub(crate) fn connect(controller: &Controller, credentials: &Credentials) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (stream, config) = ((controller.0)(), credentials.client().unwrap());
        stream.set_nonblocking(true).unwrap();
        let stream = Arc::new(Mutex::new(Some(stream)));
        let connector = tower::service_fn(move |_: http::Uri| {
            let (stream, config) = (Arc::clone(&stream), Arc::clone(&config));
            async move {
                let stream = stream.lock().ok().and_then(|mut stream| stream.take());
                let stream = stream.ok_or_else(|| std::io::Error::other("one connection, one channel"))?;
                let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
                let stream = tokio::net::TcpStream::from_std(stream)?;
                TlsConnector::from(config).connect(name, stream).await.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_static("http://control.invalid");
        let channel = runtime.block_on(async { endpoint.connect_with_connector_lazy(connector) });
        Self { runtime, channel }
    }

    /// Joins as a node; the certificate is written to `folder/FILE.*`.
    pub(crate) fn join(
        &self,
        join: &JoinFile,
        node: &str,
        folder: &Path,
        file: &str,
    ) -> Result<Credentials, Status> {
        let (key, csr) = request();
        let asked = JoinRequest { node: node.to_owned(), token: join.token.clone(), csr };
        let mut client = NodeIdentityClient::new(self.channel.clone());
        let reply = self.runtime.block_on(client.join(asked))?.into_inner();
        Ok(keep(&reply, &key, &join.roots, folder, file))
    }

    /// Asks for the certificate of a pod's identity.
    pub(crate) fn issue(
        &self,
        pod_uid: &str,
        roots: &str,
        folder: &Path,
        file: &str,
    ) -> Result<Credentials, Status> {
        let (key, csr) = request();
        let asked = IssueRequest { pod_uid: pod_uid.to_owned(), csr };
        let mut client = NodeIdentityClient::new(self.channel.clone());
        let reply = self.runtime.block_on(client.issue(asked))?.into_inner();
        Ok(keep(&reply, &key, roots, folder, file))
    }

    /// Subscribes to one type of resource and gives the first answer to it.
    pub(crate) fn discover(
        &self,
        node: &str,
        type_url: &str,
        names: &[&str],
    ) -> Result<DeltaDiscoveryResponse, Status> {
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: node.to_owned(), cluster: String::new() }),
            type_url: type_url.to_owned(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone());
        self.runtime.block_on(async {
            // The stream stays open behind the first request.
            let requests = futures_pending(request);
            let mut answers = client.delta_aggregated_resources(requests).await?.into_inner();
            let answer = tokio::time::timeout(super::SOON, answers.message()).await;
            let answer = answer.map_err(|_| Status::deadline_exceeded("no answer"))??;
            answer.ok_or_else(|| Status::aborted("the stream ended"))
        })
    }
}

/// One request, and then nothing for as long as anybody listens.
fn futures_pending(
    request: DeltaDiscoveryRequest,
) -> impl tokio_stream::Stream<Item = DeltaDiscoveryRequest> + Send + 'static {
    use tokio_stream::StreamExt as _;
    tokio_stream::once(request).chain(tokio_stream::pending())
}

/// A key and a request for its certificate; names in the request are to be ignored.
fn request() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["not-my-name.example".to_owned()]).unwrap();
    let csr = params.serialize_request(&key).unwrap();
    (key, csr.der().to_vec())
}

fn keep(reply: &CertificateReply, key: &KeyPair, roots: &str, folder: &Path, file: &str) -> Credentials {
    let stem: PathBuf = folder.join(file);
    let chain: String = reply.chain.iter().map(|der| pem(der)).collect();
    fs::write(stem.with_extension("crt"), chain).unwrap();
    fs::write(stem.with_extension("key"), key.serialize_pem()).unwrap();
    fs::write(stem.with_extension("ca"), roots).unwrap();
    Credentials::of(&stem)
}

/// Since when the first certificate of a file is valid, in seconds since 1970.
pub(crate) fn not_before(file: &Path) -> i64 {
    let der = CertificateDer::from_pem_file(file).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    certificate.validity().not_before.timestamp()
}

fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - chunk.len()));
        for sextet in 0..4 {
            let index = (bits >> (18 - 6 * sextet) & 0x3f) as usize;
            text.push(if sextet <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
