//! Requests from pods, and pods that answer them.

use super::{Echo, SETTLE, Trial, echo, eventually};
use crate::http::caller::Caller;

/// A pod as [`echo()`] makes them that serves HTTP at 8080 instead: HTTP/1.1, HTTP/2, gRPC and WebSocket.
#[must_use]
pub fn web(namespace: &str, name: &str) -> Echo {
    echo(namespace, name).program("mesh-http").serve_only("--port 8080")
}

impl Trial {
    /// A client of HTTP in a pod or on a node.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn http(&self, place: &str) -> Caller {
        let command = self.command(place, &["mesh-http", "client"]);
        Caller::start(command).unwrap_or_else(|error| panic!("{place}: {error}"))
    }

    /// Waits until the controller has accepted or refused a route as it is at this generation.
    pub(super) fn wait_judged(&self, kind: &str, key: &str, generation: i64) {
        eventually(&format!("{kind} {key} is judged at generation {generation}"), SETTLE, || {
            let judged = self.condition(kind, key, "Accepted")?;
            (judged.generation == generation).then_some(())
        });
    }
}
