//! What the workers count: exactly, where it happens, read by telemetry at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh_ebpf::abi::Reason;

use crate::relay::engine::record::Ending;

/// Exact counts of the data path, read by telemetry at any time.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Connections of local pods that go out through the tunnel now, opening ones included.
    pub outbound_open: AtomicU64,
    /// Connections delivered to local pods now, opening ones included.
    pub inbound_open: AtomicU64,
    /// Tunnels (TLS connections) made by local pods that are up now.
    pub tunnels_out: AtomicU64,
    /// Tunnels accepted for local pods that are up now.
    pub tunnels_in: AtomicU64,
    /// Handshakes under way now, both directions.
    pub handshakes_under_way: AtomicU64,
    /// Handshakes that succeeded, both directions.
    pub handshakes: AtomicU64,
    /// Connections that found a tunnel in the pool.
    pub pool_hits: AtomicU64,
    /// Connections that had to wait for a new tunnel.
    pub pool_misses: AtomicU64,
    /// Requests answered 200, or got so answered.
    pub established: AtomicU64,
    /// Bytes from applications' clients through this relay.
    pub bytes_sent: AtomicU64,
    /// Bytes to applications' clients through this relay.
    pub bytes_received: AtomicU64,
    /// Reports that found no room.
    pub reports_lost: AtomicU64,
    /// Accepted connections closed at once, because relay was at a bound of its own.
    pub shed: AtomicU64,
    /// Clients' connections that the L7 engine reads now.
    pub engine_open: AtomicU64,
    /// Connections that were led to the L7 engine and passed on unread: TLS routes, and what is no HTTP.
    pub engine_unread: AtomicU64,
    /// Bytes that the L7 engine read from clients.
    pub engine_bytes_received: AtomicU64,
    /// Bytes that the L7 engine wrote to clients.
    pub engine_bytes_sent: AtomicU64,
    /// Requests whose reports found no room.
    pub requests_lost: AtomicU64,
    /// Connections that ended for each reason, by [`Reason::ALL`]'s order.
    ended: [AtomicU64; Reason::ALL.len()],
    /// Requests that ended so, by [`Ending::ALL`]'s order.
    requests: [AtomicU64; Ending::ALL.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            outbound_open: AtomicU64::default(),
            inbound_open: AtomicU64::default(),
            tunnels_out: AtomicU64::default(),
            tunnels_in: AtomicU64::default(),
            handshakes_under_way: AtomicU64::default(),
            handshakes: AtomicU64::default(),
            pool_hits: AtomicU64::default(),
            pool_misses: AtomicU64::default(),
            established: AtomicU64::default(),
            bytes_sent: AtomicU64::default(),
            bytes_received: AtomicU64::default(),
            reports_lost: AtomicU64::default(),
            shed: AtomicU64::default(),
            engine_open: AtomicU64::default(),
            engine_unread: AtomicU64::default(),
            engine_bytes_received: AtomicU64::default(),
            engine_bytes_sent: AtomicU64::default(),
            requests_lost: AtomicU64::default(),
            ended: std::array::from_fn(|_| AtomicU64::default()),
            requests: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Counts {
    /// How many connections ended for each reason that any ended for.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .into_iter()
            .zip(&self.ended)
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    /// How many requests ended in each way that any ended in.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (Ending, u64)> {
        Ending::ALL
            .into_iter()
            .zip(&self.requests)
            .map(|(ending, count)| (ending, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    /// Counts the end of a request.
    pub(super) fn end_request(&self, ending: Ending) {
        let at = Ending::ALL.into_iter().position(|known| known == ending);
        if let Some(count) = at.and_then(|at| self.requests.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the end of a connection.
    pub(super) fn end(&self, reason: Reason) {
        let at = Reason::ALL.into_iter().position(|known| known == reason);
        if let Some(count) = at.and_then(|at| self.ended.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts one more for as long as it lives.
#[derive(Debug)]
pub(crate) struct Gauge {
    counts: Arc<Counts>,
    of: fn(&Counts) -> &AtomicU64,
}

impl Gauge {
    /// Counts one more of `of`.
    pub(crate) fn hold(counts: &Arc<Counts>, of: fn(&Counts) -> &AtomicU64) -> Self {
        of(counts).fetch_add(1, Ordering::Relaxed);
        Self { counts: Arc::clone(counts), of }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.of)(&self.counts).fetch_sub(1, Ordering::Relaxed);
    }
}
