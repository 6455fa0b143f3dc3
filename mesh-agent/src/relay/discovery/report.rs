//! Tells the controller of the pods of this node, over the connection that discovery keeps.
//!
//! A stream begins with every pod that wire has found and that is, or is to be, in the mesh; then it
//! tells what changed. One message is under way at a time, and what changes meanwhile goes into the
//! next: of a pod that changes a hundred times in between, its last state is told.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures::stream::poll_fn;
use mesh_api::reports::{NodeReportsClient, PodReports, PodReportsTaken};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, Streaming};

use super::dial::Dialled;
use super::ledger::Ledger;
use crate::relay::backoff::Backoff;
use crate::relay::node::Node;

/// Changes that come this close together are told at once.
const GATHER: Duration = Duration::from_millis(250);
/// How long the controller may take to answer a message.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// When wire has been away for this long the stream ends: nobody knows the pods then.
const WITHOUT_WIRE: Duration = Duration::from_secs(10);
/// Another agent of this node tells of its pods: one of the two is about to end.
const SUPERSEDED: Duration = Duration::from_secs(60);
/// How often to look whether wire is back.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Keeps a stream of reports up for as long as the connection is there.
pub(super) async fn run(node: &Rc<Node>, dialled: &Dialled, ledger: &mut Ledger) -> Infallible {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut last = String::new();
    loop {
        while !knows_its_pods(node) {
            sleep(LOOK_AGAIN).await;
        }
        let ended = stream(node, dialled, ledger).await;
        if matches!(&ended, Ended::Failed(status) if status.code() == Code::Unimplemented) {
            tracing::info!("this controller takes no reports of pods; it is older than this agent");
            std::future::pending::<()>().await;
        }
        let why = match &ended {
            Ended::WithoutWire => "there has been no connection to wire for a while".to_owned(),
            Ended::Closed => "the controller closed the stream".to_owned(),
            Ended::Failed(status) => super::issuer::text(status),
        };
        if why != last {
            tracing::warn!(why, "the controller is not told of this node's pods; trying again");
            last = why;
        }
        match ended {
            Ended::Failed(status) if status.code() == Code::Aborted => sleep(SUPERSEDED).await,
            _ => backoff.pause().await,
        }
    }
}

/// Why a stream ended.
enum Ended {
    WithoutWire,
    Closed,
    Failed(Status),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// Whether what wire reports is everything there is, and this relay is who tells of it.
fn knows_its_pods(node: &Node) -> bool {
    node.link.synced.get() && !node.link.leaving.get() && *node.discovery.complete.borrow()
}

async fn stream(node: &Rc<Node>, dialled: &Dialled, ledger: &mut Ledger) -> Ended {
    match tell(node, dialled, ledger).await {
        Ok(ended) | Err(ended) => ended,
    }
}

async fn tell(node: &Rc<Node>, dialled: &Dialled, ledger: &mut Ledger) -> Result<Ended, Ended> {
    let (messages, mut queue) = mpsc::channel(1);
    let mut answers = NodeReportsClient::new(dialled.channel.clone())
        .report(poll_fn(move |context| queue.poll_recv(context)))
        .await?
        .into_inner();
    ledger.begin();
    let mut pods = node.link.reported.subscribe();
    loop {
        pods.mark_unchanged();
        let due = ledger.due(&node.pods.borrow(), SystemTime::now());
        for message in due {
            one(&messages, &mut answers, message).await?;
        }
        tokio::select! {
            changed = pods.changed() => if changed.is_err() { return Ok(Ended::Closed) },
            // The controller says nothing of its own accord but why it ends the stream.
            answer = answers.message() => {
                answer?;
                return Ok(Ended::Closed);
            }
        }
        sleep(GATHER).await;
        let mut waited = Duration::ZERO;
        while !knows_its_pods(node) {
            if waited >= WITHOUT_WIRE {
                return Ok(Ended::WithoutWire);
            }
            sleep(LOOK_AGAIN).await;
            waited += LOOK_AGAIN;
        }
    }
}

/// Sends a message and waits for its answer.
async fn one(
    messages: &mpsc::Sender<PodReports>,
    answers: &mut Streaming<PodReportsTaken>,
    message: PodReports,
) -> Result<(), Ended> {
    // What is not taken shows in the answer.
    let _ = messages.send(message).await;
    let late = || Status::deadline_exceeded(format!("no answer within {} seconds", ANSWER_WITHIN.as_secs()));
    let taken = timeout(ANSWER_WITHIN, answers.message()).await.map_err(|_| late())??;
    let Some(PodReportsTaken { refused }) = taken else { return Err(Ended::Closed) };
    if !refused.is_empty() {
        tracing::warn!(pods = ?refused, "the controller says that these pods are not on this node");
    }
    Ok(())
}
