//! Every metric of the node, prefix `mesh_`.

use std::time::Duration;

use mesh_ebpf::abi::{Counter as KernelCounter, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::Bounded;
use super::flows::Progress;
use super::labels::{DenialLabels, EndLabels, FlowLabels};
use crate::handover::Counts;
use crate::relay::names::Names;
use crate::relay::resource::Kind;

/// The most series of one counter family.
const SERIES: usize = 10_000;
/// The most series of one histogram family; each is a dozen lines.
const HISTOGRAM_SERIES: usize = 1_000;

/// The metrics and what they are registered in.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    opened: Bounded<FlowLabels, Counter>,
    closed: Bounded<EndLabels, Counter>,
    failed: Bounded<EndLabels, Counter>,
    sent: Bounded<FlowLabels, Counter>,
    received: Bounded<FlowLabels, Counter>,
    retransmits: Bounded<FlowLabels, Counter>,
    round_trip: Bounded<FlowLabels, Histogram>,
    duration: Bounded<FlowLabels, Histogram>,
    denied: Bounded<DenialLabels, Counter>,
    audited: Bounded<DenialLabels, Counter>,
    kernel: Vec<Counter>,
    map_entries: Family<MapLabels, Gauge>,
    map_capacity: Family<MapLabels, Gauge>,
    open: Family<WorkloadLabels, Gauge>,
    pods: Family<StateLabels, Gauge>,
    preexisting: Gauge,
    local_proof: Gauge,
    wire_connected: Gauge,
    counts_age: Gauge,
    discovery_connected: Gauge,
    discovery_age: Gauge,
    discovery_nacks: Family<KindLabels, Counter>,
    discovery_resources: Family<KindLabels, Gauge>,
    log_lost: Counter,
    untracked: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MapLabels {
    map: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkloadLabels {
    namespace: String,
    workload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabels {
    family: &'static str,
}

/// Registers families, each with its own count of what overflowed.
struct Families<'a> {
    registry: &'a mut Registry,
    overflowed: Family<FamilyLabels, Counter>,
}

impl Families<'_> {
    fn counter<L>(&mut self, name: &'static str, help: &str) -> Bounded<L, Counter>
    where
        L: super::bounded::Overflow
            + EncodeLabelSet
            + Clone
            + std::fmt::Debug
            + std::hash::Hash
            + Eq
            + Send
            + Sync
            + 'static,
    {
        let family = Family::<L, Counter>::default();
        self.registry.register(name, help, family.clone());
        Bounded::new(family, SERIES, self.overflow(name))
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        new: fn() -> Histogram,
    ) -> Bounded<FlowLabels, Histogram> {
        let family = Family::<FlowLabels, Histogram>::new_with_constructor(new);
        self.registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        Bounded::new(family, HISTOGRAM_SERIES, self.overflow(name))
    }

    fn overflow(&self, family: &'static str) -> Counter {
        self.overflowed.get_or_create_owned(&FamilyLabels { family })
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn gauges<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Gauge>
where
    L: EncodeLabelSet + Clone + std::fmt::Debug + std::hash::Hash + Eq + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

impl Metrics {
    /// Every metric, at zero.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("mesh");
        let overflowed = Family::<FamilyLabels, Counter>::default();
        registry.register(
            "metrics_overflow",
            "Updates that found their metric family full and went to its series \"overflow\"",
            overflowed.clone(),
        );
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent's build", build);
        let kernel = KernelCounter::NAMES.map(|name| {
            let counter = Counter::default();
            let help = format!("Kernel counter {name}, since its maps were made");
            registry.register(format!("kernel_{name}"), help, counter.clone());
            counter
        });
        let discovery_nacks = Family::default();
        registry.register(
            "discovery_nacks",
            "Responses of the controller that were refused, in whole or in part",
            discovery_nacks.clone(),
        );
        let log_lost = Counter::default();
        registry.register(
            "access_log_lost",
            "Lines of the access log lost because the disk was behind",
            log_lost.clone(),
        );
        let mut families = Families { registry: &mut registry, overflowed };
        let opened = families.counter("tcp_connections_opened", "TCP connections established");
        let closed = families.counter("tcp_connections_closed", "TCP connections ended, by how");
        let failed = families.counter("tcp_connections_failed", "TCP connections never established, by how");
        let sent = families.counter("tcp_sent_bytes", "Bytes the reporting side sent");
        let received = families.counter("tcp_received_bytes", "Bytes the reporting side received");
        let retransmits =
            families.counter("tcp_retransmitted_segments", "Segments the reporting side sent again");
        let denied = families
            .counter("denied", "Connections, datagrams and packets refused; exact, counted in the kernel");
        let audited = families.counter(
            "audited",
            "What went on and an Audit policy would have refused; exact, counted in the kernel",
        );
        let round_trip = families.histogram(
            "tcp_round_trip",
            "Smoothed round-trip time of connections, at every sample and at their end",
            || Histogram::new(exponential_buckets(25e-6, 2.0, 14)),
        );
        let duration =
            families.histogram("tcp_connection_duration", "How long connections were open", || {
                Histogram::new(exponential_buckets(1e-3, 4.0, 12))
            });
        let registry_mut = &mut registry;
        Self {
            opened,
            closed,
            failed,
            sent,
            received,
            retransmits,
            round_trip,
            duration,
            denied,
            audited,
            kernel: kernel.into(),
            map_entries: gauges(registry_mut, "map_entries", "Entries of a kernel map"),
            map_capacity: gauges(registry_mut, "map_capacity", "Entries a kernel map can hold"),
            open: gauges(
                registry_mut,
                "tcp_connections_open",
                "TCP connections open now, by the workload that made them",
            ),
            pods: gauges(registry_mut, "pods", "Pods of this node, by state"),
            preexisting: gauge(
                registry_mut,
                "preexisting_connections",
                "Open connections older than their pod's enrolment, which no policy has judged",
            ),
            local_proof: gauge(
                registry_mut,
                "local_proof",
                "1 while a connect on this node proves the pod's identity",
            ),
            wire_connected: gauge(registry_mut, "wire_connected", "1 while relay talks to wire"),
            counts_age: gauge(registry_mut, "counts_age_seconds", "Age of the kernel's counts; -1 for none"),
            discovery_connected: gauge(
                registry_mut,
                "discovery_connected",
                "1 while relay has a stream from the controller",
            ),
            discovery_age: gauge(
                registry_mut,
                "discovery_age_seconds",
                "Since the controller was last heard; -1 for never",
            ),
            discovery_nacks,
            discovery_resources: gauges(registry_mut, "discovery_resources", "Resources held, by kind"),
            log_lost,
            untracked: gauge(
                registry_mut,
                "tcp_connections_untracked",
                "Connections whose bytes are counted only when they end",
            ),
            registry,
        }
    }

    pub(super) fn opened(&self, labels: &FlowLabels) {
        self.opened.update(labels, |counter| {
            counter.inc();
        });
    }

    pub(super) fn closed(&self, labels: &FlowLabels, how: Reason, duration: Duration) {
        let ended = EndLabels { flow: labels.clone(), how: how.name().to_owned() };
        self.closed.update(&ended, |counter| {
            counter.inc();
        });
        self.duration.update(labels, |histogram| histogram.observe(duration.as_secs_f64()));
    }

    pub(super) fn failed(&self, labels: &FlowLabels, how: Reason) {
        let ended = EndLabels { flow: labels.clone(), how: how.name().to_owned() };
        self.failed.update(&ended, |counter| {
            counter.inc();
        });
    }

    pub(super) fn moved(&self, labels: &FlowLabels, moved: Progress) {
        for (family, grown) in [
            (&self.sent, moved.sent),
            (&self.received, moved.received),
            (&self.retransmits, moved.retransmits),
        ] {
            if grown > 0 {
                family.update(labels, |counter| {
                    counter.inc_by(grown);
                });
            }
        }
    }

    pub(super) fn round_trip(&self, labels: &FlowLabels, microseconds: u32) {
        if microseconds > 0 {
            let seconds = f64::from(microseconds) / 1e6;
            self.round_trip.update(labels, |histogram| histogram.observe(seconds));
        }
    }

    pub(super) fn denied(&self, labels: &DenialLabels, audited: bool, added: u64) {
        let family = if audited { &self.audited } else { &self.denied };
        family.update(labels, |counter| {
            counter.inc_by(added);
        });
    }

    pub(super) fn kernel(&self, counts: &Counts, names: &Names) {
        use std::sync::atomic::Ordering::Relaxed;
        for (counter, &count) in self.kernel.iter().zip(&counts.counters) {
            counter.inner().store(count, Relaxed);
        }
        self.local_proof.set(i64::from(counts.local_proof));
        for (map, entries, capacity) in &counts.maps {
            let labels = MapLabels { map: map.clone() };
            self.map_entries.get_or_create(&labels).set(signed(*entries));
            self.map_capacity.get_or_create(&labels).set(signed(*capacity));
        }
        self.open.clear();
        for (uid, flows) in &counts.open_flows {
            let unknown = || ("unknown".to_owned(), "unknown".to_owned());
            let (namespace, workload) =
                names.pod(*uid).map_or_else(unknown, |pod| (pod.namespace.clone(), pod.workload.clone()));
            let labels = WorkloadLabels { namespace, workload };
            self.open.get_or_create(&labels).inc_by(signed(*flows));
        }
    }

    pub(super) fn pods(&self, by_state: [i64; 4], preexisting: u64) {
        for (state, count) in ["unknown", "pending", "wired", "plain"].into_iter().zip(by_state) {
            self.pods.get_or_create(&StateLabels { state }).set(count);
        }
        self.preexisting.set(signed(preexisting));
    }

    pub(super) fn log_line_lost(&self) {
        self.log_lost.inc();
    }

    pub(super) fn flows_untracked(&self, count: u64) {
        self.untracked.set(signed(count));
    }

    /// Counts a response that was refused, in whole or in part.
    pub(crate) fn nacked(&self, kind: Kind) {
        self.discovery_nacks.get_or_create(&KindLabels { kind: kind.name() }).inc();
    }

    /// What is only known when it is asked for. Ages are `None` for never.
    pub(crate) fn now(
        &self,
        wire_connected: bool,
        counts_age: Option<Duration>,
        discovery_connected: bool,
        discovery_age: Option<Duration>,
        resources: &[(Kind, usize)],
    ) {
        let seconds = |age: Option<Duration>| age.map_or(-1, |age| signed(age.as_secs()));
        self.wire_connected.set(i64::from(wire_connected));
        self.counts_age.set(seconds(counts_age));
        self.discovery_connected.set(i64::from(discovery_connected));
        self.discovery_age.set(seconds(discovery_age));
        for (kind, count) in resources {
            let labels = KindLabels { kind: kind.name() };
            self.discovery_resources.get_or_create(&labels).set(signed(*count as u64));
        }
    }

    /// All of it as OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a `String` does not fail.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
