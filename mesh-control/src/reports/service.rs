//! The gRPC service that agents tell of their pods on.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mesh_api::reports::{NodeReports, NodeReportsServer, PodReports, PodReportsTaken};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::store::{Refused, Reports};
use crate::{
    ca::{Authority, Lease},
    serve::Pace,
};

/// The longest message that is read: 256 pods with the longest reasons fit.
const MESSAGE_BYTES: usize = 1 << 20;
/// How long an answer may wait for the network.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The service.
#[derive(Debug, Clone)]
pub struct ReportService {
    reports: Arc<Reports>,
    authority: Arc<Authority>,
    streams: Arc<AtomicU64>,
    pace: Arc<Pace>,
}

impl ReportService {
    /// Keeps in `reports` what the nodes tell that `authority` knows.
    #[must_use]
    pub fn new(reports: Arc<Reports>, authority: Arc<Authority>) -> Self {
        Self { reports, authority, streams: Arc::default(), pace: Arc::default() }
    }

    /// As a gRPC service.
    #[must_use]
    pub fn service(self) -> NodeReportsServer<Self> {
        NodeReportsServer::new(self).max_decoding_message_size(MESSAGE_BYTES)
    }

    async fn listen(
        self,
        stream: u64,
        mut lease: Lease,
        mut messages: Streaming<PodReports>,
        answers: mpsc::Sender<Result<PodReportsTaken, Status>>,
    ) {
        let node: Arc<str> = lease.node().into();
        self.reports.begin(&node, stream, Instant::now());
        let ended = tokio::select! {
            ended = self.take(&node, stream, &mut messages, &answers) => ended,
            refusal = lease.lost() => Some(Status::permission_denied(refusal.to_string())),
        };
        self.reports.end(&node, stream, Instant::now());
        if let Some(status) = ended {
            // A peer that does not read is cut off without a word.
            let _ = answers.try_send(Err(status));
        }
    }

    /// Takes what a stream tells to its end; gives back why it is ended from here, if it is.
    async fn take(
        &self,
        node: &Arc<str>,
        stream: u64,
        messages: &mut Streaming<PodReports>,
        answers: &mpsc::Sender<Result<PodReportsTaken, Status>>,
    ) -> Option<Status> {
        while let Ok(Some(message)) = messages.message().await {
            let taken = match self.reports.take(node, stream, message) {
                Ok(taken) => taken,
                Err(refused @ (Refused::TooMany | Refused::Uid(_))) => {
                    tracing::warn!(%node, %refused, "what it tells of its pods is not taken");
                    return Some(Status::resource_exhausted(refused.to_string()));
                }
                Err(refused @ Refused::Superseded) => return Some(Status::aborted(refused.to_string())),
            };
            if !taken.refused.is_empty()
                && let Some(unlogged) = self.pace.take(Instant::now())
            {
                tracing::warn!(%node, pods = ?taken.refused, unlogged, "a node tells of pods that are not on it");
            }
            match timeout(ANSWER_WITHIN, answers.send(Ok(taken))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
        None
    }
}

#[tonic::async_trait]
impl NodeReports for ReportService {
    type ReportStream = Pin<Box<dyn Stream<Item = Result<PodReportsTaken, Status>> + Send>>;

    async fn report(
        &self,
        request: Request<Streaming<PodReports>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let lease = self.authority.admit(request.extensions())?;
        let stream = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let (answers, receiver) = mpsc::channel(1);
        tokio::spawn(self.clone().listen(stream, lease, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
