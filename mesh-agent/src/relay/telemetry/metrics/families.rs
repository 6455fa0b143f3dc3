//! Registering metrics: each with its name and its help, label sets that grow with the mesh bounded.

use std::fmt::Debug;
use std::hash::Hash;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::super::bounded::{Bounded, Overflow};
use super::super::labels::FlowLabels;

/// The most series of one counter family.
const SERIES: usize = 10_000;
/// The most series of one histogram family; each is a dozen lines.
const HISTOGRAM_SERIES: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabels {
    family: &'static str,
}

/// Registers metrics, and bounded families each with its own count of what overflowed.
pub(super) struct Families<'a> {
    registry: &'a mut Registry,
    overflowed: Family<FamilyLabels, Counter>,
}

impl<'a> Families<'a> {
    /// Registers in `registry` from now on.
    pub(super) fn new(registry: &'a mut Registry) -> Self {
        let overflowed = Family::default();
        registry.register(
            "metrics_overflow",
            "Updates that found their metric family full and went to its series \"overflow\"",
            overflowed.clone(),
        );
        Self { registry, overflowed }
    }

    /// A bounded family of counters.
    pub(super) fn bounded<L>(&mut self, name: &'static str, help: &str) -> Bounded<L, Counter>
    where
        L: Overflow + EncodeLabelSet + Clone + Debug + Hash + Eq + Send + Sync + 'static,
    {
        let family = self.counters(name, help);
        Bounded::new(family, SERIES, self.overflow(name))
    }

    /// A bounded family of histograms of seconds.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        new: fn() -> Histogram,
    ) -> Bounded<FlowLabels, Histogram> {
        let family = Family::<FlowLabels, Histogram>::new_with_constructor(new);
        self.registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        Bounded::new(family, HISTOGRAM_SERIES, self.overflow(name))
    }

    /// A family of counters whose labels are of a fixed set.
    pub(super) fn counters<L>(&mut self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + Debug + Hash + Eq + Send + Sync + 'static,
    {
        let family = Family::default();
        self.registry.register(name, help, family.clone());
        family
    }

    /// A family of gauges whose labels are of a fixed set.
    pub(super) fn gauges<L>(&mut self, name: &str, help: &str) -> Family<L, Gauge>
    where
        L: EncodeLabelSet + Clone + Debug + Hash + Eq + Send + Sync + 'static,
    {
        let family = Family::default();
        self.registry.register(name, help, family.clone());
        family
    }

    /// A counter.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.registry.register(name, help, counter.clone());
        counter
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.registry.register(name, help, gauge.clone());
        gauge
    }

    fn overflow(&self, family: &'static str) -> Counter {
        self.overflowed.get_or_create_owned(&FamilyLabels { family })
    }
}
