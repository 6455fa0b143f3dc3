//! Requests through the L7 engine, by who they are between and what decided on them.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::super::bounded::Bounded;
use super::super::labels::FlowLabels;
use super::super::requests::labels::{DecisionLabels, RequestLabels};
use super::families::Families;

/// What became of requests.
#[derive(Debug)]
pub(crate) struct Requests {
    ended: Bounded<RequestLabels, Counter>,
    duration: Bounded<FlowLabels, Histogram>,
    denied: Bounded<DecisionLabels, Counter>,
    audited: Bounded<DecisionLabels, Counter>,
}

impl Requests {
    /// All of them, at zero.
    pub(super) fn new(families: &mut Families<'_>) -> Self {
        Self {
            ended: families.bounded("requests", "Requests that the L7 engine served or refused"),
            duration: families.histogram(
                "request_duration",
                "From a request's head to the end of its answer",
                || Histogram::new(exponential_buckets(5e-4, 2.0, 16)),
            ),
            denied: families.bounded("requests_denied", "Requests refused by a policy"),
            audited: families
                .bounded("requests_audited", "Requests that went on and an Audit policy would have refused"),
        }
    }

    /// Counts one that is over.
    pub(in super::super) fn ended(&self, labels: &RequestLabels, duration: Option<Duration>) {
        self.ended.update(labels, increment);
        if let Some(duration) = duration {
            self.duration.update(&labels.flow, |histogram| histogram.observe(duration.as_secs_f64()));
        }
    }

    /// Counts one that a policy refused.
    pub(in super::super) fn denied(&self, labels: &DecisionLabels) {
        self.denied.update(labels, increment);
    }

    /// Counts one that a policy in Audit mode would have refused.
    pub(in super::super) fn audited(&self, labels: &DecisionLabels) {
        self.audited.update(labels, increment);
    }
}

fn increment(counter: &Counter) {
    counter.inc();
}
