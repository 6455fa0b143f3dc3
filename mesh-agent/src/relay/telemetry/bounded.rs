//! Metric families with a bound on their series, so that no label set can exhaust memory here or
//! in whoever scrapes.

use std::cell::Cell;
use std::fmt::Debug;
use std::hash::Hash;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};

/// Labels with one value that stands for what found no room.
pub(super) trait Overflow {
    /// The labels of everything over the bound.
    fn overflow() -> Self;
}

/// A family of at most `limit` series and one more, labelled "overflow".
pub(super) struct Bounded<L, M, C = fn() -> M> {
    family: Family<L, M, C>,
    limit: usize,
    series: Cell<usize>,
    overflowed: Counter,
}

impl<L, M, C> Bounded<L, M, C>
where
    L: Overflow + EncodeLabelSet + Clone + Debug + Hash + Eq + Send + Sync + 'static,
    M: Clone,
    C: MetricConstructor<M> + Clone,
{
    /// A family whose updates that found no room are counted in `overflowed`.
    pub(super) fn new(family: Family<L, M, C>, limit: usize, overflowed: Counter) -> Self {
        Self { family, limit, series: Cell::new(0), overflowed }
    }

    /// Updates the metric of `labels`, or the one of the overflow.
    pub(super) fn update(&self, labels: &L, update: impl FnOnce(&M)) {
        if let Some(metric) = self.family.get(labels) {
            update(&metric);
        } else if self.series.get() < self.limit {
            self.series.set(self.series.get() + 1);
            update(&self.family.get_or_create(labels));
        } else {
            self.overflowed.inc();
            update(&self.family.get_or_create(&L::overflow()));
        }
    }
}

impl<L, M, C> Debug for Bounded<L, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounded").field("limit", &self.limit).finish_non_exhaustive()
    }
}
