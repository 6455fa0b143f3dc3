//! Every metric of the node, prefix `mesh_`.

mod connections;
mod engine;
mod families;
mod identity;
mod requests;
mod tunnel;

use std::time::{Duration, SystemTime};

use mesh_ebpf::abi::Counter as KernelCounter;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::handover::Counts;
use crate::relay::identity::Standing;
use crate::relay::names::Names;
use crate::relay::resource::Kind;
use crate::relay::tunnel::counts;
use connections::Connections;
use families::Families;
pub(crate) use identity::{NodeTrust, State as IdentityState, seconds_until};

/// The metrics and what they are registered in.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// What happened to connections.
    pub(super) connections: Connections,
    /// What became of requests.
    pub(super) requests: requests::Requests,
    engine: engine::Engine,
    tunnel: tunnel::Tunnel,
    identity: identity::Identity,
    kernel: Vec<Counter>,
    map_entries: Family<MapLabels, Gauge>,
    map_capacity: Family<MapLabels, Gauge>,
    open: Family<WorkloadLabels, Gauge>,
    pods: Family<StateLabels, Gauge>,
    preexisting: Gauge,
    reset: Counter,
    local_proof: Gauge,
    wire_connected: Gauge,
    counts_age: Gauge,
    discovery_connected: Gauge,
    discovery_age: Gauge,
    snapshot_age: Gauge,
    discovery_nacks: Family<KindLabels, Counter>,
    discovery_resources: Family<KindLabels, Gauge>,
    log_lost: Counter,
    log_suppressed: Counter,
    untracked: Gauge,
}

/// What is only known when it is asked for. Ages are `None` for never.
#[derive(Debug)]
pub(crate) struct Now<'a> {
    /// relay talks to wire.
    pub wire_connected: bool,
    /// Age of the kernel's counts.
    pub counts_age: Option<Duration>,
    /// There is a stream from the controller.
    pub discovery_connected: bool,
    /// Since the controller was last heard.
    pub discovery_age: Option<Duration>,
    /// Age of the discovery state on disk.
    pub snapshot_age: Option<Duration>,
    /// Resources held.
    pub resources: &'a [(Kind, usize)],
    /// What the workers count.
    pub tunnel: &'a counts::Counts,
    /// How the node's identities stand.
    pub identities: &'a [Standing],
    /// What the node believes and is believed by.
    pub trust: NodeTrust,
    /// The time now.
    pub time: SystemTime,
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

impl Metrics {
    /// Every metric, at zero.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("mesh");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent's build", build);
        let families = &mut Families::new(&mut registry);
        let kernel = KernelCounter::NAMES.map(|name| {
            let help = format!("Kernel counter {name}, since its maps were made");
            families.counter(&format!("kernel_{name}"), &help)
        });
        let connections = Connections::new(families);
        let requests = requests::Requests::new(families);
        let engine = engine::Engine::new(families);
        let tunnel = tunnel::Tunnel::new(families);
        let identity = identity::Identity::new(families);
        Self {
            connections,
            requests,
            engine,
            tunnel,
            identity,
            kernel: kernel.into(),
            map_entries: families.gauges("map_entries", "Entries of a kernel map"),
            map_capacity: families.gauges("map_capacity", "Entries a kernel map can hold"),
            open: families
                .gauges("tcp_connections_open", "TCP connections open now, by the workload that made them"),
            pods: families.gauges("pods", "Pods of this node, by state"),
            preexisting: families.gauge(
                "preexisting_connections",
                "Open connections older than their pod's enrolment, which no policy has judged",
            ),
            reset: families.counter(
                "connections_reset",
                "Connections from before their pod's enrolment changed that were ended by `meshctl enroll --reset`",
            ),
            local_proof: families
                .gauge("local_proof", "1 while a connect on this node proves the pod's identity"),
            wire_connected: families.gauge("wire_connected", "1 while relay talks to wire"),
            counts_age: families.gauge("counts_age_seconds", "Age of the kernel's counts; -1 for none"),
            discovery_connected: families
                .gauge("discovery_connected", "1 while relay has a stream from the controller"),
            discovery_age: families
                .gauge("discovery_age_seconds", "Since the controller was last heard; -1 for never"),
            snapshot_age: families
                .gauge("discovery_snapshot_age_seconds", "Age of the discovery state on disk; -1 for none"),
            discovery_nacks: families.counters(
                "discovery_nacks",
                "Responses of the controller that were refused, in whole or in part",
            ),
            discovery_resources: families.gauges("discovery_resources", "Resources held, by kind"),
            log_lost: families
                .counter("access_log_lost", "Lines of the access log lost because the disk was behind"),
            log_suppressed: families.counter(
                "access_log_suppressed",
                "Lines about the tunnel held back because one pod caused too many",
            ),
            untracked: families
                .gauge("tcp_connections_untracked", "Connections whose bytes are counted only when they end"),
            registry,
        }
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

    pub(super) fn connections_reset(&self, count: u64) {
        self.reset.inc_by(count);
    }

    pub(super) fn log_line_lost(&self) {
        self.log_lost.inc();
    }

    pub(super) fn log_line_suppressed(&self) {
        self.log_suppressed.inc();
    }

    pub(super) fn flows_untracked(&self, count: u64) {
        self.untracked.set(signed(count));
    }

    /// Counts a response that was refused, in whole or in part.
    pub(crate) fn nacked(&self, kind: Kind) {
        self.discovery_nacks.get_or_create(&KindLabels { kind: kind.name() }).inc();
    }

    /// Sets what is only known when it is asked for.
    pub(crate) fn now(&self, now: &Now<'_>) {
        let seconds = |age: Option<Duration>| age.map_or(-1, |age| signed(age.as_secs()));
        self.wire_connected.set(i64::from(now.wire_connected));
        self.counts_age.set(seconds(now.counts_age));
        self.discovery_connected.set(i64::from(now.discovery_connected));
        self.discovery_age.set(seconds(now.discovery_age));
        self.snapshot_age.set(seconds(now.snapshot_age));
        for (kind, count) in now.resources {
            let labels = KindLabels { kind: kind.name() };
            self.discovery_resources.get_or_create(&labels).set(signed(*count as u64));
        }
        self.tunnel.take(now.tunnel);
        self.engine.take(now.tunnel);
        self.identity.set(now.identities, now.trust, now.time);
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
