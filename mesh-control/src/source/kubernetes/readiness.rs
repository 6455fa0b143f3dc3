//! Whether the API server is ready again, asked once for all kinds.
//!
//! An API server that comes back refuses lists and watches until it has filled its caches. If every
//! kind found that out for itself it would be asked the more the longer it takes; so one of them asks
//! `/readyz`, and the others wait for what it hears.

use std::time::Duration;

use hyper::Request;
use kube::{Client, client::Body};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{chance::random, cursor::wait};

/// An answer must have come within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// When the API server was last heard to be ready, and whether it was not just before.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool)>>);

impl Readiness {
    /// Waits until the API server was ready at some time after `failed`. Tells whether it was away or
    /// not ready meanwhile: else it was a connection that broke.
    pub(super) async fn after(&self, failed: Instant, client: &Client) -> bool {
        // Whoever has the lock asks; the others wait for it.
        let mut heard = self.0.lock().await;
        if let Some((_, was_away)) = heard.filter(|(heard, _)| *heard >= failed) {
            return was_away;
        }
        let mut failures = 0;
        while !is_ready(ask(client).await) {
            failures += 1;
            sleep(wait(failures, random())).await;
        }
        *heard = Some((Instant::now(), failures > 0));
        failures > 0
    }
}

/// The status of the answer, if there is one.
async fn ask(client: &Client) -> Option<u16> {
    let request = Request::get("/readyz").body(Body::empty()).ok()?;
    let answer = timeout(ANSWER_LIMIT, client.send(request)).await.ok()?.ok()?;
    Some(answer.status().as_u16())
}

/// Whether an answer is one of an API server that answers others as well. That one may not ask for
/// its readiness says so, too.
fn is_ready(status: Option<u16>) -> bool {
    status.is_some_and(is_answer)
}

/// Whether a status is about what was asked, and not about the state of the API server.
pub(super) fn is_answer(status: u16) -> bool {
    status != 429 && status < 500
}

#[cfg(test)]
mod tests {
    use super::is_ready;

    #[test]
    fn only_an_answer_about_itself_says_that_it_is_not_ready() {
        for status in [None, Some(429), Some(500), Some(503)] {
            assert!(!is_ready(status), "{status:?}");
        }
        for status in [Some(200), Some(401), Some(403), Some(404)] {
            assert!(is_ready(status), "{status:?}");
        }
    }
}
