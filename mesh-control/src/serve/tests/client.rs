//! An agent in short.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hyper_util::rt::TokioIo;
use mesh_api::{
    certificates::{CertificateReply, IssueRequest, JoinRequest, NodeIdentityClient, RenewRequest},
    discovery::{AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node},
    reports::{NodeReportsClient, PodReports, PodReportsTaken},
    resources::TrustBundle,
};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::{net::TcpSocket, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::ca::JoinFile;

/// What an agent holds.
#[derive(Debug)]
pub(super) struct Agent {
    roots: Vec<CertificateDer<'static>>,
    key: KeyPair,
    chain: Vec<CertificateDer<'static>>,
}

/// A connection of an agent.
pub(super) struct Connected {
    channel: Channel,
    requests: Option<mpsc::Sender<DeltaDiscoveryRequest>>,
}

impl Agent {
    pub(super) fn nameless(file: &JoinFile) -> Self {
        Self::believing(CertificateDer::pem_slice_iter(file.roots.as_bytes()).map(Result::unwrap).collect())
    }

    /// One without a certificate, that believes whom these vouch for.
    pub(super) fn believing(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, key: KeyPair::generate().unwrap(), chain: Vec::new() }
    }

    /// A certificate by nobody, with a node's name.
    pub(super) fn self_signed(file: &JoinFile) -> Self {
        let mut agent = Self::nameless(file);
        let mut params = CertificateParams::default();
        let name = "spiffe://cluster.local/mesh/node/n1".try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(name)];
        agent.chain = vec![params.self_signed(&agent.key).unwrap().into()];
        agent
    }

    pub(super) async fn join(address: SocketAddr, file: &JoinFile) -> Result<Self, Status> {
        let mut agent = Self::nameless(file);
        let connected =
            agent.connect(address).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request =
            JoinRequest { node: file.node.clone(), token: file.token.clone(), csr: csr(&agent.key) };
        let reply = NodeIdentityClient::new(connected.channel).join(request).await?.into_inner();
        agent.chain = reply.chain.into_iter().map(Into::into).collect();
        Ok(agent)
    }

    /// The same with a pod's certificate.
    pub(super) async fn as_workload(&self, node: &mut Connected, uid: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let request = IssueRequest { pod_uid: uid.to_owned(), csr: csr(&key) };
        let reply = NodeIdentityClient::new(node.channel.clone()).issue(request).await.unwrap().into_inner();
        let chain = reply.chain.into_iter().map(Into::into).collect();
        Self { roots: self.roots.clone(), key, chain }
    }

    pub(super) async fn connect(&self, address: SocketAddr) -> Result<Connected, tonic::transport::Error> {
        self.connect_from(Ipv4Addr::LOCALHOST.into(), address).await
    }

    /// From an address of this machine.
    pub(super) async fn connect_from(
        &self,
        from: IpAddr,
        address: SocketAddr,
    ) -> Result<Connected, tonic::transport::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Controller(self.roots.clone())));
        let mut config = if self.chain.is_empty() {
            builder.with_no_client_auth()
        } else {
            let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
            builder.with_client_auth_cert(self.chain.clone(), key.into()).unwrap()
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.enable_sni = false;
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let connector = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                let tcp = socket.connect(address).await?;
                let name = ServerName::try_from("controller").unwrap();
                tls.connect(name, tcp).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://controller").connect_with_connector(connector).await?;
        Ok(Connected { channel, requests: None })
    }
}

impl Connected {
    /// Asks for a node's first certificate.
    pub(super) async fn join(&mut self, node: &str, token: &str) -> Result<CertificateReply, Status> {
        let csr = csr(&KeyPair::generate().unwrap());
        let request = JoinRequest { node: node.to_owned(), token: token.to_owned(), csr };
        Ok(NodeIdentityClient::new(self.channel.clone()).join(request).await?.into_inner())
    }

    pub(super) async fn issue(&mut self, uid: &str) -> Result<CertificateReply, Status> {
        let csr = csr(&KeyPair::generate().unwrap());
        let request = IssueRequest { pod_uid: uid.to_owned(), csr };
        Ok(NodeIdentityClient::new(self.channel.clone()).issue(request).await?.into_inner())
    }

    pub(super) async fn renew(&mut self) -> Result<CertificateReply, Status> {
        let request = RenewRequest { csr: csr(&KeyPair::generate().unwrap()) };
        Ok(NodeIdentityClient::new(self.channel.clone()).renew(request).await?.into_inner())
    }

    /// Tells of pods on a stream of its own; the stream lasts as long as the sender is kept.
    pub(super) async fn report(
        &mut self,
        message: PodReports,
    ) -> Result<(mpsc::Sender<PodReports>, PodReportsTaken), Status> {
        let (messages, receiver) = mpsc::channel(1);
        let mut client = NodeReportsClient::new(self.channel.clone());
        let mut answers = client.report(ReceiverStream::new(receiver)).await?.into_inner();
        messages.send(message).await.unwrap();
        Ok((messages, answers.message().await?.unwrap()))
    }

    pub(super) async fn discover(
        &mut self,
        node: &str,
        kind: &str,
    ) -> Result<Streaming<DeltaDiscoveryResponse>, Status> {
        let (requests, receiver) = mpsc::channel(4);
        let first = DeltaDiscoveryRequest {
            node: Some(Node { id: node.to_owned(), cluster: String::new() }),
            type_url: format!("type.googleapis.com/mesh.internal.v1alpha1.{kind}"),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(first).await.unwrap();
        self.requests = Some(requests);
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone());
        Ok(client.delta_aggregated_resources(ReceiverStream::new(receiver)).await?.into_inner())
    }

    pub(super) async fn acknowledge(&self, sent: &DeltaDiscoveryResponse) {
        let request = DeltaDiscoveryRequest {
            type_url: sent.type_url.clone(),
            response_nonce: sent.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.as_ref().unwrap().send(request).await.unwrap();
    }
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// The name in the leaf.
pub(super) fn certificate(reply: &CertificateReply) -> String {
    let (_, leaf) = x509_parser::parse_x509_certificate(&reply.chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    match names.value.general_names.as_slice() {
        [x509_parser::extensions::GeneralName::URI(uri)] => (*uri).to_owned(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn bundle(sent: &DeltaDiscoveryResponse) -> TrustBundle {
    let any = sent.resources[0].resource.as_ref().unwrap();
    TrustBundle::decode(any.value.as_slice()).unwrap()
}

/// Believes the controller: a chain to the roots, and its name.
#[derive(Debug)]
struct Controller(Vec<CertificateDer<'static>>);

impl ServerCertVerifier for Controller {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // As a client: the name is in the URI, which the verifier of servers does not look at.
        let mut roots = rustls::RootCertStore::empty();
        self.0.iter().for_each(|root| roots.add(root.clone()).unwrap());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        verifier.build().unwrap().verify_client_cert(end_entity, intermediates, now)?;
        let reply = CertificateReply { chain: vec![end_entity.to_vec()], issuer_key_id: Vec::new() };
        assert_eq!(certificate(&reply), "spiffe://cluster.local/mesh/control");
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
