//! Attempts without an answer: what becomes of the request, and what its client is told.

use http::{Response, StatusCode};
use mesh_l7::retry::Outcome;

use super::cut::Cut;
use super::decide::{Backend, DialFailure, Refusal};
use super::frame::Broken;
use super::record::Ending;
use super::request::Attempt;

/// Why an attempt has no answer, of which nothing went to the client.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is over.
    Cut(Cut),
    /// Another attempt may do.
    Attempt {
        /// What to answer if there is none.
        refusal: Refusal,
        /// What became of it.
        outcome: Outcome,
        /// The connection had rested.
        stale: bool,
    },
}

impl From<Cut> for Failure {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl Failure {
    /// There is nobody to ask.
    pub(super) fn no_endpoint(backend: &Backend) -> Self {
        let message = format!("no endpoint of {} is ready", backend.name);
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Ending::NoEndpoint, message);
        Self::Attempt { refusal, outcome: Outcome::NotSent, stale: false }
    }

    /// The endpoint cannot be connected.
    pub(super) fn not_connected(failure: &DialFailure, attempt: &Attempt<'_>) -> Self {
        let Backend { name, .. } = &*attempt.forward.backend;
        let (ending, message) = if failure.exhausted {
            (Ending::Overflow, format!("too many requests to {name} are under way"))
        } else {
            (Ending::ConnectFailed, format!("an endpoint of {name} could not be connected"))
        };
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ending, message);
        let refusal = refusal.detail(format!("connecting to {}: {}", attempt.endpoint, failure.detail));
        Self::Attempt { refusal, outcome: Outcome::NotSent, stale: false }
    }

    /// The endpoint did not answer.
    pub(super) fn broken(broken: &Broken, attempt: &Attempt<'_>, reused: bool) -> Self {
        let Backend { name, .. } = &*attempt.forward.backend;
        let (status, ending, outcome) = match broken {
            Broken::Unprocessed(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, Ending::UpstreamReset, Outcome::NotSent)
            }
            Broken::Malformed(_) | Broken::TooLarge(_) => {
                (StatusCode::BAD_GATEWAY, Ending::UpstreamProtocol, Outcome::Status(StatusCode::BAD_GATEWAY))
            }
            _ => (StatusCode::BAD_GATEWAY, Ending::UpstreamReset, Outcome::Broken),
        };
        let stale = reused && matches!(broken, Broken::Lost(_) | Broken::Unprocessed(_));
        let refusal = Refusal::new(status, ending, format!("{name} did not answer"));
        let refusal = refusal.detail(format!("{}: {broken}", attempt.endpoint));
        // What is told to a caller of gRPC is that it may try again.
        let refusal = Refusal { grpc: Some(14), ..refusal };
        Self::Attempt { refusal, outcome, stale }
    }
}

/// The answer when a timeout is over.
pub(super) fn too_late() -> Refusal {
    let late =
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, Ending::TimedOut, "the backend did not answer in time");
    Refusal { grpc: Some(4), ..late }
}

/// A status that the route has tried again.
pub(super) fn answered_badly(response: &Response<()>, attempt: &Attempt<'_>) -> Failure {
    let status = response.status();
    let message = format!("{} answered {status}", attempt.forward.backend.name);
    let refusal = Refusal::new(status, Ending::UpstreamReset, message);
    Failure::Attempt { refusal, outcome: Outcome::Status(status), stale: false }
}
