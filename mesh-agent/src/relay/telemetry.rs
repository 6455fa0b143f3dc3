//! What happened on this node, as metrics and as the access log.
//!
//! wire reports events, samples of open connections and exact counts; the workers report
//! connections through the tunnel ([`tunnelled`]) and requests through the L7 engine ([`requests`]).
//! [`Telemetry`] resolves their numbers to names
//! ([`record`]), counts ([`metrics`], each byte of a connection once: [`flows`]; each denial of the
//! kernel exactly: [`denials`]), writes lines ([`line`](mod@line), [`access_log`]) and remembers
//! what went wrong last ([`failures`], in the words of [`reasons`]).

mod access_log;
mod bounded;
mod denials;
mod endings;
mod failures;
mod flows;
mod labels;
mod line;
mod metrics;
mod pace;
mod reasons;
mod record;
mod requests;
#[cfg(test)]
mod tests;
mod tunnelled;

use std::time::{Duration, Instant};

use mesh_ebpf::abi::EventKind;

use super::desired::Desired;
use super::names::Names;
use super::resource::{AccessLog, LogLevel};
use crate::handover::{Counts, Ended, FlowEvent, FlowSample, PodReport, PodState};
use access_log::Writer;
pub(crate) use access_log::{AccessLogError, Place as LogPlace};
use denials::Denials;
use endings::Endings;
use failures::Failures;
pub(crate) use failures::{Failure, Happened};
use flows::{Flows, Progress};
use labels::FlowLabels;
pub(crate) use labels::protocol_name;
pub(crate) use line::{Line, time as time_of_event};
pub(crate) use metrics::{IdentityState, Metrics, NodeTrust, Now, seconds_until};
use pace::Pace;
pub(crate) use reasons::{Told, told};
use record::{Record, Verdict};
pub(crate) use requests::{Line as RequestLine, told as told_of_request};
pub(crate) use tunnelled::follow;

/// How old the last counts may be before the data path counts as silent.
pub(crate) const COUNTS_FRESH: Duration = Duration::from_secs(5);

/// How long counts wait for discovery to name what they are about.
const NAMES_GRACE: Duration = Duration::from_secs(15);

/// Everything relay tells of the data path.
#[derive(Debug)]
pub(crate) struct Telemetry {
    metrics: Metrics,
    flows: Flows,
    endings: Endings,
    denials: Denials,
    failures: Failures,
    denied: requests::Denied,
    /// Of lines about the tunnel; the kernel has its own.
    pace: Pace,
    log: Option<Writer>,
    log_settings: AccessLog,
    /// Set through the admin socket until relay ends; wins over NodeConfig.
    log_level: Option<LogLevel>,
    last_counts: Option<(Instant, Counts)>,
    started: Instant,
    started_unix: Duration,
}

/// What resolves numbers to names.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Pods, groups and rules.
    pub names: &'a Names,
    /// Addresses and Services.
    pub desired: &'a Desired,
    /// Discovery has told its state, so that what has no name now will not get one.
    pub discovered: bool,
}

impl Telemetry {
    /// Telemetry that logs nowhere; `unix` is the time now.
    pub(crate) fn new(now: Instant, unix: Duration) -> Self {
        Self {
            metrics: Metrics::new(),
            flows: Flows::default(),
            endings: Endings::default(),
            denials: Denials::default(),
            failures: Failures::default(),
            denied: requests::Denied::default(),
            pace: Pace::default(),
            log: None,
            log_settings: AccessLog::default(),
            log_level: None,
            last_counts: None,
            started: now,
            started_unix: unix,
        }
    }

    /// Writes the access log there from now on.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn log_to(&mut self, place: LogPlace) -> Result<(), AccessLogError> {
        self.log = Some(Writer::start(place, access_log::ROTATE_AT)?);
        Ok(())
    }

    /// Takes the settings of NodeConfig.
    pub(crate) fn configure(&mut self, settings: AccessLog) {
        self.log_settings = settings;
    }

    /// Overrides the level of the access log; `None` gives it back to NodeConfig.
    pub(crate) fn override_log_level(&mut self, level: Option<LogLevel>) {
        self.log_level = level;
    }

    /// The level of the access log now.
    pub(crate) fn log_level(&self) -> LogLevel {
        self.log_level.unwrap_or(self.log_settings.level)
    }

    /// The metrics.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes events, oldest first.
    pub(crate) fn events(&mut self, events: &[FlowEvent], context: Context<'_>) {
        for event in events {
            let record = Record::resolve(event, context);
            self.count(event, &record);
            self.tell(record, true);
        }
    }

    /// Takes why wire ends connections that the workers will report.
    pub(crate) fn ended(&mut self, ended: Vec<Ended>) {
        for one in ended {
            self.endings.note(one);
        }
    }

    fn count(&mut self, event: &FlowEvent, record: &Record) {
        // Denials are counted from the exact counts, never from events, which can be lost.
        match record.verdict {
            Verdict::Opened if event.protocol == mesh_ebpf::abi::TCP => {
                let labels = FlowLabels::of(record);
                self.metrics.connections.opened(&labels);
                self.flows.opened(event.cookie, labels);
            }
            Verdict::Ended if event.protocol == mesh_ebpf::abi::TCP => {
                let tracked = self.flows.closed(event.cookie, progress_of_event(event));
                let known = tracked.is_some();
                let (labels, moved) = tracked.unwrap_or_else(|| {
                    // Opened before this relay: what an earlier one counted is not known.
                    let since = Duration::from_nanos(event.unix_nanoseconds.saturating_sub(event.duration));
                    let all = progress_of_event(event);
                    let moved = if since < self.started_unix { Progress::default() } else { all };
                    (FlowLabels::of(record), moved)
                });
                if !known && record.never_established() {
                    self.metrics.connections.failed(&labels, event.reason);
                } else {
                    let duration = Duration::from_nanos(event.duration);
                    self.metrics.connections.closed(&labels, event.reason, duration);
                    self.metrics.connections.round_trip(&labels, event.rtt_microseconds);
                }
                self.metrics.connections.moved(&labels, moved);
            }
            _ => {}
        }
    }

    /// Logs a record unless its pod has caused too many, and remembers it where something went wrong.
    fn tell(&mut self, record: Record, admitted: bool) {
        let wanted = match (self.log_level(), record.verdict) {
            (LogLevel::Off, _) | (_, Verdict::Opened) => false,
            (LogLevel::All, _) | (LogLevel::Denied, Verdict::Audited) => true,
            (LogLevel::Denied, _) => record.is_trouble(),
        };
        if wanted {
            let format = self.log_settings.format;
            self.write(admitted, || line::format(&record, format));
        }
        if record.is_trouble() {
            self.failures.note(Happened::Connection(record));
        }
    }

    /// Logs a line, or counts it.
    fn write(&mut self, admitted: bool, line: impl FnOnce() -> String) {
        let Some(log) = &mut self.log else { return };
        if !admitted {
            self.metrics.log_line_suppressed();
        } else if !log.write(line()) {
            self.metrics.log_line_lost();
        }
    }

    /// What went wrong last.
    pub(crate) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Takes the progress of open connections.
    pub(crate) fn samples(&mut self, samples: &[FlowSample], context: Context<'_>) {
        for sample in samples {
            let progress = Progress {
                sent: sample.bytes_sent,
                received: sample.bytes_received,
                retransmits: u64::from(sample.retransmits),
            };
            let labels = || FlowLabels::of_sample(sample, context);
            if let Some((labels, moved)) = self.flows.sampled(sample.cookie, progress, labels) {
                self.metrics.connections.moved(labels, moved);
                self.metrics.connections.round_trip(labels, sample.rtt_microseconds);
            }
        }
        self.metrics.flows_untracked(self.flows.untracked());
    }

    /// Takes the exact counts.
    pub(crate) fn counts(&mut self, counts: Counts, now: Instant, context: Context<'_>) {
        self.metrics.kernel(&counts, context.names);
        // Absolute counts lose nothing by waiting until discovery can name what they are about.
        if context.discovered || now.duration_since(self.started) > NAMES_GRACE {
            for (row, added) in self.denials.take(&counts.denials) {
                self.metrics.connections.denied(&labels::DenialLabels::of(row, context), row.audited, added);
            }
        }
        self.last_counts = Some((now, counts));
    }

    /// The last counts and when they came.
    pub(crate) fn last_counts(&self) -> Option<&(Instant, Counts)> {
        self.last_counts.as_ref()
    }

    /// Whether the data path has spoken lately.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.last_counts.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) <= COUNTS_FRESH)
    }

    /// Takes the state of this node's pods.
    pub(crate) fn pods<'a>(&self, reports: impl Iterator<Item = &'a PodReport>) {
        let mut by_state = [0_i64; 4];
        let mut preexisting = 0;
        for report in reports {
            let slot = match report.state {
                PodState::Unknown => 0,
                PodState::Pending => 1,
                PodState::Wired => 2,
                PodState::Plain => 3,
            };
            by_state[slot] += 1;
            preexisting += report.preexisting_connections;
        }
        self.metrics.pods(by_state, preexisting);
    }

    /// Counts connections that were ended because they were from before their pod's enrolment changed.
    pub(crate) fn reset(&self, ended: u64) {
        self.metrics.connections_reset(ended);
    }

    /// Every byte written so far is in the file when this returns.
    #[cfg(test)]
    pub(crate) fn flush_log(&mut self) {
        self.log = None;
    }
}

fn progress_of_event(event: &FlowEvent) -> Progress {
    Progress {
        sent: event.bytes_sent,
        received: event.bytes_received,
        retransmits: u64::from(event.retransmits),
    }
}

/// Whether an event number is one relay knows.
fn kind_of(number: u8) -> Option<EventKind> {
    [EventKind::Denied, EventKind::Audited, EventKind::Opened, EventKind::Closed]
        .into_iter()
        .find(|kind| *kind as u8 == number)
}
