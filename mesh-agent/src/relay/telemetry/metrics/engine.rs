//! The L7 engine: what passes through it. The workers count for themselves; a scrape copies what they
//! have. All of it is there at zero, where nothing goes through the engine.

use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::Families;
use super::signed;
use super::tunnel::{DirectionLabels, copy};
use crate::relay::tunnel::counts::Counts;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabels {
    ending: &'static str,
}

/// The engine's metrics.
#[derive(Debug)]
pub(super) struct Engine {
    connections: Gauge,
    unread: Counter,
    bytes: Family<DirectionLabels, Counter>,
    ended: Family<EndingLabels, Counter>,
    lost: Counter,
}

impl Engine {
    /// All of them, at zero.
    pub(super) fn new(families: &mut Families<'_>) -> Self {
        let engine = Self {
            connections: families
                .gauge("engine_connections_open", "Clients' connections that the L7 engine reads"),
            unread: families.counter(
                "engine_connections_unread",
                "Connections led to the engine and carried without reading requests: TLSRoutes, what is no HTTP",
            ),
            bytes: families
                .counters("engine_bytes", "Bytes that the L7 engine received from clients and sent to them"),
            ended: families.counters("engine_requests_ended", "Requests that are over, by how they ended"),
            lost: families.counter(
                "engine_reports_lost",
                "Requests that log and metrics by workload do not tell of, because relay was behind",
            ),
        };
        engine.take(&Counts::default());
        engine
    }

    /// Copies what the workers have counted.
    pub(super) fn take(&self, counts: &Counts) {
        self.connections.set(signed(counts.engine_open.load(Relaxed)));
        for (direction, count) in
            [("received", &counts.engine_bytes_received), ("sent", &counts.engine_bytes_sent)]
        {
            copy(&self.bytes.get_or_create(&DirectionLabels { direction }), count);
        }
        for (ending, count) in counts.requests() {
            let labels = EndingLabels { ending: ending.name() };
            self.ended.get_or_create(&labels).inner().store(count, Relaxed);
        }
        copy(&self.unread, &counts.engine_unread);
        copy(&self.lost, &counts.requests_lost);
    }
}
