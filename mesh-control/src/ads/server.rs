//! The gRPC service, and how to listen on a Unix socket.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mesh_api::discovery::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer, DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
};
use tokio::{net::UnixListener, sync::mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    acks::Acks,
    store::Store,
    stream::{self, Caller},
};
use crate::ca::Authority;

/// The service.
#[derive(Debug, Clone)]
pub struct Ads {
    store: Arc<Store>,
    acks: Arc<Acks>,
    streams: Arc<AtomicU64>,
    gate: Gate,
}

/// Who may have a stream.
#[derive(Debug, Clone)]
enum Gate {
    /// Nodes that this authority knows.
    Nodes(Arc<Authority>),
    /// Whoever names a node.
    #[cfg(test)]
    Anybody,
}

impl Ads {
    /// Serves what `store` holds to the nodes that `authority` knows, and keeps the answers in
    /// `acks`.
    #[must_use]
    pub fn new(store: Arc<Store>, acks: Arc<Acks>, authority: Arc<Authority>) -> Self {
        Self { store, acks, streams: Arc::default(), gate: Gate::Nodes(authority) }
    }

    /// The same to whoever names a node, for tests of the protocol without TLS.
    #[cfg(test)]
    pub(crate) fn open(store: Arc<Store>, acks: Arc<Acks>) -> Self {
        Self { store, acks, streams: Arc::default(), gate: Gate::Anybody }
    }

    /// As a gRPC service.
    #[must_use]
    pub fn service(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type DeltaAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let caller = match &self.gate {
            Gate::Nodes(authority) => Caller::Proven(authority.admit(request.extensions())?),
            #[cfg(test)]
            Gate::Anybody => Caller::AsNamed,
        };
        let id = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let (responses, receiver) = mpsc::channel(stream::QUEUE);
        tokio::spawn(stream::serve(
            self.store.clone(),
            self.acks.clone(),
            id,
            caller,
            request.into_inner(),
            responses,
        ));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}: {action}: {cause}; see that the directory exists and no other controller runs on it", path.display())]
pub struct ListenError {
    path: PathBuf,
    action: &'static str,
    #[source]
    cause: io::Error,
}

/// Listens on a Unix socket that only its owner may use: this user, or the one with `uid`. A
/// socket file that an earlier controller left behind is replaced.
///
/// # Errors
/// When the socket cannot be made there.
pub fn listen(path: &Path, uid: Option<u32>) -> Result<UnixListener, ListenError> {
    let failed = |action| move |cause| ListenError { path: path.to_owned(), action, cause };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the old socket")(error));
        }
        _ => {}
    }
    // Made beside its place and moved there once its permissions hold.
    let made = path.with_extension("sock.tmp");
    let _ = fs::remove_file(&made);
    let listener = UnixListener::bind(&made).map_err(failed("bind"))?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600)).map_err(failed("set permissions"))?;
    if uid.is_some() {
        chown(&made, uid, None).map_err(failed("give it to the agent's user"))?;
    }
    fs::rename(&made, path).map_err(failed("move it to its place"))?;
    Ok(listener)
}
