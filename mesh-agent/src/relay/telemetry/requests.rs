//! Requests that the L7 engine served or refused: resolved to names, counted, logged, and remembered
//! where something went wrong.

mod denied;
mod endings;
pub(super) mod labels;
mod line;

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use mesh_ebpf::policy::Direction;

use super::failures::Happened;
use super::record::{Party, Proof, Verdict};
use super::tunnelled::{nanoseconds, peer};
use super::{Context, Telemetry};
use crate::handover::uid_hash;
use crate::relay::engine::record::{Ending, Record};
use crate::relay::resource::LogLevel;
use crate::relay::tunnel::report::Side;
use crate::relay::tunnel::report::requests::{About, Request};
pub(crate) use denied::Denied;
pub(crate) use endings::told;
use labels::{DecisionLabels, RequestLabels};
pub(crate) use line::Line;

/// One request, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// Which side reports: Egress is the source.
    pub reporter: Direction,
    /// What was decided, or that it ended.
    pub verdict: Verdict,
    /// What is known of the calling side.
    pub proof: Proof,
    /// The calling side.
    pub source: Party,
    /// The answering side: the endpoint that was tried last.
    pub destination: Party,
    /// What the application dialled, where this side knows it.
    pub dialled: Option<SocketAddr>,
    /// The Service's port there, `<namespace>/<name>:<port>`; empty for none.
    pub service: String,
    /// What the engine tells.
    pub told: Record,
}

impl Telemetry {
    /// Takes what the workers tell of one request.
    pub(super) fn requested(&mut self, request: Request, context: Context<'_>) {
        let pod = uid_hash(&request.about.pod);
        let resolved = Resolved::of(request, context);
        self.count_request(&resolved);
        // Those that have just ended: by when they began, time would go to and fro.
        let ended = resolved.unix_nanoseconds().saturating_add(nanoseconds(resolved.told.duration));
        let bounded = resolved.is_trouble() || resolved.verdict == Verdict::Audited;
        let admitted = !bounded || self.pace.admits(pod, ended);
        if resolved.is_logged(self.log_level()) {
            let format = self.log_settings.format;
            self.write(admitted, || line::format(&resolved, format));
        }
        if resolved.is_trouble() {
            self.denied.note(&resolved);
            self.failures.note(Happened::Request(resolved));
        }
    }

    /// The request whose denial an unproven caller was told by this identifier.
    pub(crate) fn denial(&self, id: &str) -> Option<&Resolved> {
        self.denied.find(id)
    }

    fn count_request(&self, resolved: &Resolved) {
        let labels = RequestLabels::of(resolved);
        let metrics = &self.metrics.requests;
        // What was switched to another protocol lasts as long as a connection does.
        let duration = (resolved.told.ending != Ending::Switched).then_some(resolved.told.duration);
        metrics.ended(&labels, duration);
        let labels = &resolved.told.labels;
        if resolved.verdict == Verdict::Denied {
            let by = (labels.policy.as_deref(), labels.policy_rule.as_deref());
            metrics.denied(&DecisionLabels::of(resolved, by));
        }
        if let Some((policy, rule)) = resolved.audit() {
            metrics.audited(&DecisionLabels::of(resolved, (Some(policy), Some(rule))));
        }
    }
}

impl Resolved {
    /// Resolves a worker's report.
    pub(super) fn of(request: Request, context: Context<'_>) -> Self {
        let Request { about, record } = request;
        let own = Party {
            identity: about.own.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Party::by_hash(uid_hash(&about.pod), 0, false, context)
        };
        let side = |mut party: Party, address: Option<SocketAddr>| {
            party.address = address.map(|address| (address.ip(), address.port()));
            party
        };
        let (reporter, source, destination) = match about.side {
            Side::Source => {
                let address = record.endpoint.or(about.dialled);
                (Direction::Egress, own, side(endpoint(&about, &record, context), address))
            }
            Side::Destination => {
                let address = record.endpoint.or(about.dialled).or_else(|| own_address(&about, context));
                (Direction::Ingress, peer(&about.peer, about.source, context), side(own, address))
            }
        };
        Self {
            reporter,
            verdict: match record.ending {
                Ending::Denied => Verdict::Denied,
                ending if endings::is_failure(ending) => Verdict::Failed,
                _ if record.labels.audit.is_some() => Verdict::Audited,
                _ => Verdict::Ended,
            },
            proof: proof(&about, context),
            source: side(source, about.source),
            destination,
            dialled: about.dialled.filter(|_| about.side == Side::Source),
            service: about.service.as_deref().unwrap_or_default().to_owned(),
            told: record,
        }
    }

    /// When its head had come, Unix time, nanoseconds.
    pub(crate) fn unix_nanoseconds(&self) -> u64 {
        nanoseconds(self.told.at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }

    /// Policy and rule in Audit mode that would have denied it.
    fn audit(&self) -> Option<(&str, &str)> {
        let audit = self.told.labels.audit.as_deref()?;
        Some(audit.split_once(' ').unwrap_or((audit, "")))
    }

    /// Whether somebody may ask why: a refusal, a failure, or an end by the mesh's own doing.
    pub(crate) fn is_trouble(&self) -> bool {
        let by_policy = matches!(self.told.ending, Ending::Denied | Ending::Revoked);
        by_policy || endings::is_failure(self.told.ending)
    }

    fn is_logged(&self, level: LogLevel) -> bool {
        match level {
            LogLevel::Off => false,
            LogLevel::All => true,
            LogLevel::Denied => self.is_trouble() || self.verdict == Verdict::Audited,
        }
    }
}

/// The pod behind the endpoint that was tried last. It proves its name to the one who connects, or the
/// kernel does, so its identity is its pod's.
fn endpoint(about: &About, record: &Record, context: Context<'_>) -> Party {
    let mut party = peer(&about.peer, record.endpoint, context);
    let reached = record.status.is_some() && record.ending != Ending::ConnectFailed;
    if let (true, Some(endpoint), "") = (reached, record.endpoint, party.identity.as_str()) {
        let mut there = context.desired.workloads_at(endpoint.ip()).filter(|workload| workload.enrolled);
        if let (Some(workload), None) = (there.next(), there.next()) {
            party.identity = context.names.identity(&workload.into());
        }
    }
    party
}

fn own_address(about: &About, context: Context<'_>) -> Option<SocketAddr> {
    let address = context.desired.local_workload(&about.pod)?.addresses.first()?;
    Some(SocketAddr::new(*address, about.destination_port?))
}

fn proof(about: &About, context: Context<'_>) -> Proof {
    let here = |address: SocketAddr| {
        context.desired.workloads_at(address.ip()).any(|workload| workload.local.is_some())
    };
    match (about.side, about.peer.proven()) {
        (Side::Source, _) => Proof::Kernel,
        (Side::Destination, Some(_)) if about.source.is_some_and(here) => Proof::Kernel,
        (Side::Destination, Some(_)) => Proof::Mtls,
        (Side::Destination, None) => Proof::Unproven,
    }
}
