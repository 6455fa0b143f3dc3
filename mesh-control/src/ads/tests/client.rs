//! The agent's side of a stream.

use std::{path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use mesh_api::discovery::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status,
};
use prost::Message as _;
use tokio::{net::UnixStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(150);

/// A response, in short.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) updated: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) versions: Vec<(String, String)>,
    /// All of it, and what of it are resources.
    pub(crate) bytes: (usize, usize),
    nonce: String,
    type_url: String,
}

pub(crate) struct Client {
    node: String,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Responses of other types than the one that was waited for.
    early: Vec<DeltaDiscoveryResponse>,
}

impl Client {
    pub(crate) async fn connect(socket: &Path, node: &str) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://controller").connect_with_connector(connector).await.unwrap();
        let (requests, receiver) = mpsc::channel(16);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses =
            client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { node: node.to_owned(), requests, responses, early: Vec::new() }
    }

    pub(crate) async fn subscribe(&self, kind: &str, names: &[&str], held: &[(String, String)]) {
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: self.node.clone(), cluster: String::new() }),
            type_url: type_url(kind),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            initial_resource_versions: held.iter().cloned().collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response of a type, not answered yet.
    pub(crate) async fn receive(&mut self, kind: &str) -> Sent {
        loop {
            let known = self.early.iter().position(|response| response.type_url == type_url(kind));
            let response = match known {
                Some(index) => self.early.remove(index),
                None => {
                    let response = tokio::time::timeout(PATIENCE, self.responses.message()).await;
                    response.expect("an answer in time").unwrap().expect("an open stream")
                }
            };
            if response.type_url != type_url(kind) {
                self.early.push(response);
                continue;
            }
            let versions =
                response.resources.iter().map(|resource| (resource.name.clone(), resource.version.clone()));
            let resources: usize = response.resources.iter().map(|resource| resource.encoded_len()).sum();
            return Sent {
                bytes: (response.encoded_len(), resources),
                versions: versions.collect(),
                updated: response.resources.iter().map(|resource| resource.name.clone()).collect(),
                removed: response.removed_resources,
                nonce: response.nonce,
                type_url: response.type_url,
            };
        }
    }

    /// The next response of a type, acknowledged.
    pub(crate) async fn take(&mut self, kind: &str) -> Sent {
        let sent = self.receive(kind).await;
        self.acknowledge(&sent).await;
        sent
    }

    pub(crate) async fn acknowledge(&self, sent: &Sent) {
        self.answer(sent, None).await;
    }

    pub(crate) async fn refuse(&self, sent: &Sent, error: &str) {
        self.answer(sent, Some(Status { code: 3, message: error.to_owned() })).await;
    }

    async fn answer(&self, sent: &Sent, error_detail: Option<Status>) {
        let request = DeltaDiscoveryRequest {
            type_url: sent.type_url.clone(),
            response_nonce: sent.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn silent(&mut self) -> bool {
        self.early.is_empty() && tokio::time::timeout(SILENCE, self.responses.message()).await.is_err()
    }

    /// Waits until the answers have been taken in.
    pub(crate) async fn settled(&mut self) {
        assert!(self.silent().await);
    }

    /// What the stream ends with.
    pub(crate) async fn ended(&mut self) -> String {
        let end = async {
            loop {
                match self.responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return String::new(),
                    Err(status) => return status.message().to_owned(),
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("an end in time")
    }
}

fn type_url(kind: &str) -> String {
    format!("type.googleapis.com/mesh.internal.v1alpha1.{kind}")
}
