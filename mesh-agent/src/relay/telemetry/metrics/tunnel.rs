//! The tunnel: what is open, how often one was found in the pool, how connections through it ended.
//! The workers count for themselves; a scrape copies what they have.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::Families;
use super::signed;
use crate::relay::tunnel::counts::Counts;

/// Which way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DirectionLabels {
    /// Its name.
    pub direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The tunnel's metrics.
#[derive(Debug)]
pub(super) struct Tunnel {
    connections: Family<DirectionLabels, Gauge>,
    tunnels: Family<DirectionLabels, Gauge>,
    handshakes_under_way: Gauge,
    handshakes: Counter,
    pool: Family<ResultLabels, Counter>,
    established: Counter,
    ended: Family<ReasonLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    reports_lost: Counter,
    shed: Counter,
}

impl Tunnel {
    /// All of them, at zero.
    pub(super) fn new(families: &mut Families<'_>) -> Self {
        Self {
            connections: families.gauges(
                "tunnel_connections_open",
                "Connections through the tunnel that are open or being opened",
            ),
            tunnels: families.gauges("tunnels_open", "Tunnels (TLS connections between agents) that are up"),
            handshakes_under_way: families.gauge("tunnel_handshakes_under_way", "TLS handshakes under way"),
            handshakes: families.counter("tunnel_handshakes", "TLS handshakes that succeeded"),
            pool: families.counters(
                "tunnel_pool_lookups",
                "Connections that found a tunnel in the pool (hit), or waited for a new one (miss)",
            ),
            established: families
                .counter("tunnel_connections_established", "Connections through the tunnel that opened"),
            ended: families.counters(
                "tunnel_connections_ended",
                "Connections through the tunnel that ended or never opened, by reason",
            ),
            bytes: families.counters(
                "tunnel_carried_bytes",
                "Bytes that applications' clients sent and received through the tunnel",
            ),
            reports_lost: families.counter(
                "tunnel_reports_lost",
                "Connections through the tunnel that log and flow metrics do not tell of",
            ),
            shed: families.counter(
                "tunnel_shed",
                "Connections closed at once, because relay was at a bound of its own",
            ),
        }
    }

    /// Copies what the workers have counted.
    pub(super) fn take(&self, counts: &Counts) {
        for (direction, connections, tunnels) in [
            ("outbound", &counts.outbound_open, &counts.tunnels_out),
            ("inbound", &counts.inbound_open, &counts.tunnels_in),
        ] {
            let labels = DirectionLabels { direction };
            self.connections.get_or_create(&labels).set(signed(connections.load(Relaxed)));
            self.tunnels.get_or_create(&labels).set(signed(tunnels.load(Relaxed)));
        }
        self.handshakes_under_way.set(signed(counts.handshakes_under_way.load(Relaxed)));
        for (result, count) in [("hit", &counts.pool_hits), ("miss", &counts.pool_misses)] {
            copy(&self.pool.get_or_create(&ResultLabels { result }), count);
        }
        for (direction, count) in [("sent", &counts.bytes_sent), ("received", &counts.bytes_received)] {
            copy(&self.bytes.get_or_create(&DirectionLabels { direction }), count);
        }
        for (reason, count) in counts.ended() {
            let labels = ReasonLabels { reason: reason.name() };
            self.ended.get_or_create(&labels).inner().store(count, Relaxed);
        }
        copy(&self.handshakes, &counts.handshakes);
        copy(&self.established, &counts.established);
        copy(&self.reports_lost, &counts.reports_lost);
        copy(&self.shed, &counts.shed);
    }
}

/// Sets a counter to what was counted elsewhere.
pub(super) fn copy(counter: &Counter, count: &AtomicU64) {
    counter.inner().store(count.load(Relaxed), Relaxed);
}
