//! A delta ADS server that sends what the test says and remembers what relay answers.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use futures::stream::poll_fn;
use mesh_api::discovery as ads;
use prost::{Message, Name};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone, Default)]
pub(super) struct Controller {
    state: Arc<Mutex<State>>,
    streamed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    requests: Vec<ads::DeltaDiscoveryRequest>,
    responses: Option<mpsc::UnboundedSender<Result<ads::DeltaDiscoveryResponse, Status>>>,
    nonce: u64,
}

impl Controller {
    pub(super) fn start(socket: &Path) -> Self {
        let controller = Self::default();
        let listener = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        let service = ads::AggregatedDiscoveryServiceServer::new(controller.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(listener));
        controller
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
        if let Some(responses) = self.state.lock().unwrap().responses.take() {
            let _ = responses.send(Err(Status::unavailable("restarting")));
        }
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
        self.state.lock().unwrap().responses = Some(responses);
        self.streamed.notify_one();
        Ok(Response::new(Box::pin(poll_fn(move |context| queue.poll_recv(context)))))
    }
}
