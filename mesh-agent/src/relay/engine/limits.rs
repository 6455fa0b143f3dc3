//! The engine's bounds: on time, on octets, on how many.

use std::time::Duration;

/// The bounds of one engine. [`Limits::default`] says what they are and why.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long a connection of unknown protocol may be silent before its server is let speak.
    pub detect_within: Duration,
    /// From a request's first octet to the end of its head; HTTP/2: to the end of the preface.
    pub head_within: Duration,
    /// How long a client's connection may rest between requests.
    pub idle: Duration,
    /// How long a peer may take nothing of what waits for it, or send nothing of a body whose length
    /// it has named.
    pub stuck: Duration,
    /// Octets of a request's or a response's head.
    pub head_octets: usize,
    /// Octets of a trailer section.
    pub trailer_octets: usize,
    /// Octets of a request's body that are kept to be sent again.
    pub replay_octets: usize,
    /// The same of all requests of a worker.
    pub replay_octets_of_all: usize,
    /// Requests that one HTTP/2 connection of a client may have open.
    pub streams: u32,
    /// Requests of one pod's clients, or to it, that a worker has under way.
    pub requests_of_pod: u32,
    /// How long an endpoint may take to be connected.
    pub connect_within: Duration,
    /// How long a connection to an endpoint is kept without a request.
    pub idle_upstream: Duration,
    /// HTTP/1.1 connections to one endpoint; each carries one request.
    pub http1_per_endpoint: usize,
    /// HTTP/2 connections to one endpoint.
    pub http2_per_endpoint: usize,
    /// Mirrored requests under way in a worker.
    pub mirrors: usize,
    /// How long a mirrored request may take.
    pub mirror_within: Duration,
    /// What is left of a request's body after its response: so many octets, so long, are read for
    /// the sake of a connection that can be used again.
    pub rest_octets: u64,
    /// See [`Limits::rest_octets`].
    pub rest_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            detect_within: Duration::from_millis(100),
            head_within: Duration::from_secs(10),
            // Longer than clients keep connections: who closes first risks a request on its way.
            idle: Duration::from_secs(3600),
            stuck: Duration::from_secs(300),
            head_octets: 64 << 10,
            trailer_octets: 8 << 10,
            replay_octets: 64 << 10,
            replay_octets_of_all: 16 << 20,
            streams: 1024,
            requests_of_pod: 8192,
            connect_within: Duration::from_secs(10),
            // Shorter than servers keep connections (nginx 75 s, Go none); see also `Keep-Alive`.
            idle_upstream: Duration::from_secs(60),
            http1_per_endpoint: 1024,
            http2_per_endpoint: 16,
            mirrors: 128,
            mirror_within: Duration::from_secs(30),
            rest_octets: 256 << 10,
            rest_within: Duration::from_secs(1),
        }
    }
}
