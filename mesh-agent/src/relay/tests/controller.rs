//! A controller that sends what the test says, signs what relay asks for, and remembers both.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use futures::stream::poll_fn;
use mesh_api::certificates::{
    CertificateReply, IssueRequest, JoinRequest, NodeIdentity, NodeIdentityServer, RenewRequest,
};
use mesh_api::discovery as ads;
use mesh_api::reports::{NodeReports, NodeReportsServer, PodReports, PodReportsTaken};
use mesh_api::resources as api;
use prost::{Message, Name};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming};

use super::tls::TlsIncoming;
use crate::relay::tls::testing::{Authority, Wanted};

#[derive(Clone)]
pub(super) struct Controller {
    authority: Arc<Mutex<Arc<Authority>>>,
    state: Arc<Mutex<State>>,
    streamed: Arc<Notify>,
    server: Arc<Mutex<Option<JoinHandle<()>>>>,
}

type Responses = mpsc::UnboundedSender<Result<ads::DeltaDiscoveryResponse, Status>>;

#[derive(Default)]
struct State {
    /// Tokens that were not used yet.
    tokens: Vec<String>,
    /// Joins are not looked at, for too much to do.
    busy: bool,
    /// Names signed, in order.
    signed: Vec<String>,
    /// Why nothing is signed for workloads.
    refusing: Option<String>,
    requests: Vec<ads::DeltaDiscoveryRequest>,
    responses: Option<Responses>,
    /// Streams before the present one, which stay open.
    before: Vec<Responses>,
    nonce: u64,
    /// What was told of pods.
    reports: Vec<PodReports>,
}

impl Controller {
    pub(super) fn start(socket: &Path) -> Self {
        let controller = Self {
            authority: Arc::new(Mutex::new(Arc::new(Authority::new("cluster.local")))),
            state: Arc::default(),
            streamed: Arc::default(),
            server: Arc::default(),
        };
        controller.serve(socket);
        controller
    }

    /// Listens; again, after [`Controller::stop`].
    pub(super) fn serve(&self, socket: &Path) {
        let _ = std::fs::remove_file(socket);
        let incoming = TlsIncoming::new(UnixListener::bind(socket).unwrap(), &self.authority());
        let server = tonic::transport::Server::builder()
            .add_service(ads::AggregatedDiscoveryServiceServer::new(self.clone()))
            .add_service(NodeIdentityServer::new(self.clone()))
            .add_service(NodeReportsServer::new(self.clone()))
            .serve_with_incoming(incoming);
        let server = tokio::spawn(async move { server.await.unwrap() });
        *self.server.lock().unwrap() = Some(server);
    }

    fn authority(&self) -> Arc<Authority> {
        self.authority.lock().unwrap().clone()
    }

    /// Gets another trust domain; it holds for new connections and certificates.
    pub(super) fn rename(&self, trust_domain: &str) {
        let renamed = Arc::new(self.authority().renamed(trust_domain));
        *self.authority.lock().unwrap() = renamed;
    }

    /// Goes away, with every connection.
    pub(super) fn stop(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.abort();
        }
        self.break_stream();
    }

    pub(super) fn write_join_file(&self, path: &Path, node: &str) {
        let token = format!("token-{}", self.state.lock().unwrap().signed.len());
        self.state.lock().unwrap().tokens.push(token.clone());
        let file = serde_json::json!({
            "version": 1, "node": node, "token": token,
            "trustDomain": self.authority().trust_domain, "roots": self.authority().roots_pem(),
        });
        std::fs::write(path, file.to_string()).unwrap();
    }

    /// Writes what kubelet projects into an agent's pod.
    pub(super) fn write_account(&self, directory: &Path, token: &str) {
        let authority = self.authority();
        std::fs::write(directory.join("ca.crt"), authority.roots_pem()).unwrap();
        std::fs::write(directory.join("trust-domain"), &authority.trust_domain).unwrap();
        std::fs::write(directory.join("token"), token).unwrap();
    }

    /// Has too much to do for whoever wants to join, or has time again.
    pub(super) fn busy(&self, busy: bool) {
        self.state.lock().unwrap().busy = busy;
    }

    /// Takes this token, once.
    pub(super) fn admit(&self, token: &str) {
        self.state.lock().unwrap().tokens.push(token.to_owned());
    }

    pub(super) fn trust_bundle(&self) -> api::TrustBundle {
        let authority = self.authority();
        api::TrustBundle {
            trust_domain: authority.trust_domain.clone(),
            roots: vec![authority.root().to_vec()],
            issuer_key_id: authority.issuer_key_id.clone(),
            revoked: Vec::new(),
        }
    }

    /// Names signed so far.
    pub(super) fn signed(&self) -> Vec<String> {
        self.state.lock().unwrap().signed.clone()
    }

    /// Signs nothing for workloads from now on, or does again.
    pub(super) fn refuse_to_sign(&self, why: Option<&str>) {
        self.state.lock().unwrap().refusing = why.map(str::to_owned);
    }

    fn sign(&self, name: String, csr: &[u8]) -> Response<CertificateReply> {
        let reply = self.authority().sign(csr, &Wanted::new(&name));
        self.state.lock().unwrap().signed.push(name);
        Response::new(reply)
    }

    /// Sends a response on the present stream.
    pub(super) async fn send<M: Message + Name>(&self, resources: &[(&str, M)], removed: &[&str]) {
        let response = {
            let mut state = self.state.lock().unwrap();
            state.nonce += 1;
            let version = state.nonce.to_string();
            ads::DeltaDiscoveryResponse {
                type_url: mesh_api::type_url::<M>(),
                nonce: version.clone(),
                resources: resources
                    .iter()
                    .map(|(name, message)| ads::Resource {
                        name: (*name).to_owned(),
                        version: version.clone(),
                        resource: Some(prost_any(message)),
                    })
                    .collect(),
                removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
                ..Default::default()
            }
        };
        loop {
            if let Some(responses) = &self.state.lock().unwrap().responses
                && responses.send(Ok(response.clone())).is_ok()
            {
                return;
            }
            self.streamed.notified().await;
        }
    }

    pub(super) fn break_stream(&self) {
        let mut state = self.state.lock().unwrap();
        let before = std::mem::take(&mut state.before);
        for responses in state.responses.take().into_iter().chain(before) {
            let _ = responses.send(Err(Status::unavailable("restarting")));
        }
    }

    /// What was told of pods so far.
    pub(super) fn reports(&self) -> Vec<PodReports> {
        self.state.lock().unwrap().reports.clone()
    }

    fn requests(
        &self,
        wanted: impl Fn(&ads::DeltaDiscoveryRequest) -> bool,
    ) -> Vec<ads::DeltaDiscoveryRequest> {
        self.state.lock().unwrap().requests.iter().filter(|request| wanted(request)).cloned().collect()
    }

    pub(super) fn first_request(&self) -> ads::DeltaDiscoveryRequest {
        self.requests(|_| true).swap_remove(0)
    }

    pub(super) fn subscriptions(&self) -> Vec<ads::DeltaDiscoveryRequest> {
        self.requests(|request| request.response_nonce.is_empty())
    }

    pub(super) fn acknowledged(&self) -> Vec<ads::DeltaDiscoveryRequest> {
        self.requests(|request| !request.response_nonce.is_empty() && request.error_detail.is_none())
    }

    pub(super) fn refused(&self) -> Vec<String> {
        self.requests(|request| request.error_detail.is_some())
            .into_iter()
            .filter_map(|request| Some(request.error_detail?.message))
            .collect()
    }
}

fn prost_any<M: Message + Name>(message: &M) -> prost_types::Any {
    prost_types::Any { type_url: mesh_api::type_url::<M>(), value: message.encode_to_vec() }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Controller {
    type DeltaAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<ads::DeltaDiscoveryResponse, Status>> + Send>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<ads::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut requests = request.into_inner();
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                state.lock().unwrap().requests.push(request);
            }
        });
        let (responses, mut queue) = mpsc::unbounded_channel();
        {
            let mut state = self.state.lock().unwrap();
            let before = state.responses.replace(responses);
            state.before.extend(before);
        }
        self.streamed.notify_one();
        Ok(Response::new(Box::pin(poll_fn(move |context| queue.poll_recv(context)))))
    }
}

#[tonic::async_trait]
impl NodeReports for Controller {
    type ReportStream = Pin<Box<dyn Stream<Item = Result<PodReportsTaken, Status>> + Send>>;

    async fn report(
        &self,
        request: Request<Streaming<PodReports>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let mut messages = request.into_inner();
        let state = Arc::clone(&self.state);
        let (answers, mut queue) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                state.lock().unwrap().reports.push(message);
                let _ = answers.send(Ok(PodReportsTaken::default()));
            }
        });
        Ok(Response::new(Box::pin(poll_fn(move |context| queue.poll_recv(context)))))
    }
}

#[tonic::async_trait]
impl NodeIdentity for Controller {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<CertificateReply>, Status> {
        let request = request.into_inner();
        {
            let mut state = self.state.lock().unwrap();
            if state.busy {
                return Err(Status::resource_exhausted(
                    "more tokens are sent than the API server is asked about",
                ));
            }
            let known = state.tokens.iter().position(|token| *token == request.token);
            let known = known.ok_or_else(|| Status::permission_denied("the token was used already"))?;
            state.tokens.remove(known);
        }
        let name = format!("spiffe://{}/mesh/node/{}", self.authority().trust_domain, request.node);
        Ok(self.sign(name, &request.csr))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<CertificateReply>, Status> {
        let name = format!("spiffe://{}/mesh/node/n1", self.authority().trust_domain);
        Ok(self.sign(name, &request.into_inner().csr))
    }

    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<CertificateReply>, Status> {
        if let Some(why) = &self.state.lock().unwrap().refusing {
            return Err(Status::permission_denied(why.as_str()));
        }
        let request = request.into_inner();
        let account = request.pod_uid.trim_start_matches("uid-").to_owned();
        let name = format!("spiffe://{}/ns/bank/sa/{account}", self.authority().trust_domain);
        Ok(self.sign(name, &request.csr))
    }
}
