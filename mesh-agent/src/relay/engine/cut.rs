//! What ends a request, whatever its endpoint does: its client, its time, a change of policy.

use futures::future::LocalBoxFuture;
use mesh_l7::timeouts::Deadline;
use tokio::time::sleep_until;

use super::decide::Refusal;
use super::frame::Broken;
use super::replay::RequestBody;
use super::respond::Responder;

/// What ended it.
#[derive(Debug)]
pub(super) enum Cut {
    /// Its client has gone, or sends what is no body.
    Client(Broken),
    /// Its time is over, or that of this attempt.
    Late {
        /// All of it.
        whole: bool,
    },
    /// It may not be open any more.
    Revoked(Refusal),
}

/// Waits for what ends the request, while nothing of it is on its way.
pub(super) async fn cut(
    body: &mut RequestBody<'_, '_>,
    responder: &mut Option<Responder<'_>>,
    deadline: Option<Deadline>,
    revoked: &mut LocalBoxFuture<'static, Refusal>,
) -> Cut {
    let gone = async {
        match responder {
            Some(responder) => responder.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        broken = body.source().gone() => Cut::Client(broken),
        broken = gone => Cut::Client(broken),
        cut = late(deadline, revoked) => cut,
    }
}

/// Waits for a timeout, or for the request to be revoked.
pub(super) async fn late(deadline: Option<Deadline>, revoked: &mut LocalBoxFuture<'static, Refusal>) -> Cut {
    let over = async {
        match deadline {
            Some(deadline) => {
                sleep_until(deadline.at.into()).await;
                deadline.whole
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        whole = over => Cut::Late { whole },
        refusal = revoked => Cut::Revoked(refusal),
    }
}
