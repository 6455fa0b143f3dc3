//! One agent's stream: requests in, responses out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mesh_api::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::{
    acks::Acks,
    order,
    store::{Dirty, Store},
    subscription::Subscription,
};
use crate::{build::ResourceKind, ca::Lease};

/// Responses that wait for the network, at most: one of each type.
pub(super) const QUEUE: usize = ResourceKind::ALL.len();

/// How long the reason of a stream's end may wait for the network.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);

/// The longest name a node can have.
const NODE_NAME_LIMIT: usize = 253;

/// Who is on the other side. Everything that a stream is sent is for this node, whatever its
/// requests say.
#[derive(Debug)]
pub(super) enum Caller {
    /// A node that has proven its name, for as long as it counts.
    Proven(Lease),
    /// Whoever the first request names.
    #[cfg(test)]
    AsNamed,
}

impl Caller {
    /// The node, if `named` may be it.
    fn node(&self, named: &str) -> Result<Arc<str>, Status> {
        if named.is_empty() || named.len() > NODE_NAME_LIMIT {
            return Err(Status::invalid_argument("the first request must carry node.id, the node's name"));
        }
        match self {
            Self::Proven(lease) if lease.node() != named => Err(Status::permission_denied(format!(
                "node.id is `{named}`, the certificate is of node `{}`; a node is sent its own resources only",
                lease.node()
            ))),
            Self::Proven(lease) => Ok(lease.node().into()),
            #[cfg(test)]
            Self::AsNamed => Ok(named.into()),
        }
    }

    /// Waits until the node no longer counts.
    async fn lost(&mut self) -> Status {
        match self {
            Self::Proven(lease) => Status::permission_denied(lease.lost().await.to_string()),
            #[cfg(test)]
            Self::AsNamed => std::future::pending().await,
        }
    }
}

/// Serves a stream to its end. The first request must name the node.
pub(super) async fn serve(
    store: Arc<Store>,
    acks: Arc<Acks>,
    id: u64,
    mut caller: Caller,
    mut requests: impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
) {
    let first = tokio::select! {
        first = requests.next() => match first {
            Some(Ok(first)) => first,
            Some(Err(_)) | None => return,
        },
        _ = caller.lost() => return,
    };
    let named = first.node.as_ref().map(|node| node.id.as_str()).unwrap_or_default();
    let node = match caller.node(named) {
        Ok(node) => node,
        Err(status) => {
            tracing::warn!(stream = id, %status, "stream refused");
            // A peer that is gone needs no answer.
            let _ = responses.send(Err(status)).await;
            return;
        }
    };
    tracing::info!(node = %node, stream = id, "agent connected");
    acks.connected(&node, id);
    let mut session = Session {
        store,
        acks: acks.clone(),
        id,
        node: node.clone(),
        subscriptions: BTreeMap::new(),
        seen: 0,
    };
    let ended = tokio::select! {
        ended = session.run(first, requests, &responses) => ended,
        status = caller.lost() => Err(status),
    };
    if let Err(status) = ended {
        tracing::warn!(node = %node, stream = id, %status, "stream ended");
        // A peer that does not read is cut off without a word.
        let _ = responses.send_timeout(Err(status), LAST_WORD_WITHIN).await;
    }
    acks.disconnected(&node, id);
    tracing::info!(node = %node, stream = id, "agent disconnected");
}

struct Session {
    store: Arc<Store>,
    acks: Arc<Acks>,
    id: u64,
    node: Arc<str>,
    subscriptions: BTreeMap<ResourceKind, Subscription>,
    /// The change up to which the subscriptions know what is dirty.
    seen: u64,
}

impl Session {
    async fn run(
        &mut self,
        first: DeltaDiscoveryRequest,
        mut requests: impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin,
        responses: &mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    ) -> Result<(), Status> {
        let mut sequence = self.store.sequence();
        let mut answers = self.acks.changes();
        // Nothing is said before the first build: an empty store is not an empty mesh.
        let built = sequence.wait_for(|sequence| *sequence > 0).await.is_ok();
        if !built {
            return Ok(());
        }
        self.on_request(&first)?;
        self.on_those_that_are_there(&mut requests).await?;
        loop {
            self.catch_up();
            for response in self.next_responses() {
                if responses.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                request = requests.next() => match request {
                    Some(Ok(request)) => {
                        self.on_request(&request)?;
                        self.on_those_that_are_there(&mut requests).await?;
                    }
                    Some(Err(_)) | None => return Ok(()),
                },
                changed = sequence.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                changed = answers.changed() => {
                    if changed.is_ok() && !self.acks.is_current(&self.node, self.id) {
                        return Err(Status::aborted("newer streams of this node have taken over"));
                    }
                }
            }
        }
    }

    /// Takes in further requests that have come already. An agent asks for every type at once; what
    /// it is told first can only be decided with all of them known.
    async fn on_those_that_are_there(
        &mut self,
        requests: &mut (impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin),
    ) -> Result<(), Status> {
        for _ in ResourceKind::ALL {
            tokio::select! {
                biased;
                request = requests.next() => match request {
                    Some(Ok(request)) => self.on_request(&request)?,
                    // The loop finds the end again.
                    Some(Err(_)) | None => return Ok(()),
                },
                () = std::future::ready(()) => return Ok(()),
            }
        }
        Ok(())
    }

    fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        let kind = ResourceKind::of_type_url(&request.type_url).ok_or_else(|| {
            let known: Vec<_> = ResourceKind::ALL.into_iter().map(ResourceKind::type_url).collect();
            Status::invalid_argument(format!(
                "type_url `{}` is not one of {}",
                request.type_url,
                known.join(", ")
            ))
        })?;
        let view = self.store.view(&self.node);
        let invalid = |error: super::subscription::ProtocolError| Status::invalid_argument(error.to_string());
        let events = match self.subscriptions.get_mut(&kind) {
            Some(subscription) => subscription.on_request(request, &view).map_err(invalid)?,
            None => {
                let subscription = Subscription::new(kind, request, &view).map_err(invalid)?;
                let resumed = subscription.resumed();
                self.subscriptions.insert(kind, subscription);
                vec![resumed]
            }
        };
        drop(view);
        self.acks.record(&self.node, self.id, events);
        Ok(())
    }

    /// Tells the subscriptions what changed since they last knew.
    fn catch_up(&mut self) {
        let view = self.store.view(&self.node);
        if view.sequence() == self.seen {
            return;
        }
        match view.dirty_since(self.seen) {
            Dirty::Keys(keys) => {
                self.subscriptions.values_mut().for_each(|subscription| subscription.mark(&keys, &view))
            }
            Dirty::All => {
                self.subscriptions.values_mut().for_each(|subscription| subscription.mark_all(&view))
            }
        }
        self.seen = view.sequence();
    }

    fn next_responses(&mut self) -> Vec<DeltaDiscoveryResponse> {
        order::next_responses(&mut self.subscriptions, &self.store.view(&self.node))
    }
}
