//! One container of a pod: its process as it comes and goes, and its probes.

use std::{
    os::unix::process::ExitStatusExt as _,
    sync::{Arc, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Container as Spec, LifecycleHandler, Probe};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Context,
    phase::{RestartPolicy, Role, State, back_off},
    pod::Event,
    probe::{Failure, Kind, Prober, Target},
    process::{self, Place},
};
use crate::{cgroup, launch::LAUNCH_FAILED, node::PodAssignment};

/// A container that ran this long starts over with its back-off.
const STABLE_AFTER: Duration = Duration::from_secs(600);

/// Longest time for a hook.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// A container and what became of it.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) role: Role,
    pub(super) spec: Arc<Spec>,
    pub(super) state: State,
    /// Counts its processes, so that news of an earlier one are told apart.
    pub(super) run: u32,
    /// When it is killed if it does not end by itself.
    pub(super) kill_at: Option<Instant>,
    index: usize,
    restarts: u32,
    started_at: Option<Instant>,
    pid: Option<Pid>,
    target: Option<Target>,
    probers: Vec<Prober>,
}

impl Container {
    pub(super) fn new(index: usize, role: Role, spec: Spec) -> Self {
        Self {
            role,
            spec: Arc::new(spec),
            state: State::Waiting(None),
            run: 0,
            kill_at: None,
            index,
            restarts: 0,
            started_at: None,
            pid: None,
            target: None,
            probers: Vec::new(),
        }
    }

    /// Starts the process in its place, and what goes with it.
    pub(super) fn start(
        &mut self,
        context: &Arc<Context>,
        assignment: &PodAssignment,
        place: Place,
        events: &Sender<Event>,
    ) -> Result<(), process::Error> {
        let mut child = place.start(context, &self.spec)?;
        self.run += 1;
        self.pid = Some(Pid::from_raw(child.id().cast_signed()));
        self.started_at = Some(Instant::now());
        let address = assignment.addresses.v4.into();
        let target =
            Target { context: Arc::clone(context), place, address, container: Arc::clone(&self.spec) };
        self.target = Some(target.clone());

        let (container, run, exits) = (self.index, self.run, events.clone());
        thread::spawn(move || {
            let status = child.wait().map_or(LAUNCH_FAILED, |status| {
                status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
            });
            // The pod may be gone.
            let _ = exits.send(Event::Exited { container, run, status });
        });
        if let Some(hook) = self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()) {
            let events = events.clone();
            thread::spawn(move || {
                if let Err(failure) = run_hook(&hook, &target) {
                    let _ = events.send(Event::Probed {
                        container,
                        run,
                        kind: Kind::Liveness,
                        outcome: Err(failure),
                    });
                }
            });
        }
        let startup = self.spec.startup_probe.clone();
        self.state = State::Running { started: false, ready: false };
        match startup {
            Some(probe) => self.probe(Kind::Startup, Some(probe), events),
            None => self.has_started(events),
        }
        Ok(())
    }

    /// The startup probe succeeded, or there is none.
    pub(super) fn has_started(&mut self, events: &Sender<Event>) {
        self.probers.clear();
        self.state = State::Running { started: true, ready: self.spec.readiness_probe.is_none() };
        self.probe(Kind::Liveness, self.spec.liveness_probe.clone(), events);
        self.probe(Kind::Readiness, self.spec.readiness_probe.clone(), events);
    }

    /// The process ended; decides whether there will be another.
    pub(super) fn has_ended(&mut self, policy: RestartPolicy, status: i32) {
        self.probers.clear();
        self.pid = None;
        self.kill_at = None;
        if !policy.restarts(self.role, status) {
            self.state = State::Ended(status);
            return;
        }
        if self.started_at.is_some_and(|start| start.elapsed() > STABLE_AFTER) {
            self.restarts = 0;
        }
        self.state = State::Waiting(Some(Instant::now() + back_off(self.restarts)));
        self.restarts += 1;
    }

    /// Asks the process to end, and lets it be killed after `grace`.
    pub(super) fn stop(&mut self, grace: Duration) {
        if let Some(pid) = self.pid
            && self.kill_at.is_none()
        {
            self.kill_at = Some(Instant::now() + grace);
            // It may have ended just now.
            let _ = kill(pid, Signal::SIGTERM);
        }
    }

    /// Kills what is left of the container.
    pub(super) fn kill(&mut self, context: &Context, uid: &str) {
        self.kill_at = None;
        if let Err(error) = cgroup::kill(&context.node.pod_cgroup(uid).join(&self.spec.name)) {
            tracing::error!(%error, "cannot kill a container");
        }
    }

    /// Whether its process runs.
    pub(super) fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    /// The readiness probe said so.
    pub(super) fn set_ready(&mut self, ready: bool) {
        if let State::Running { started, .. } = self.state {
            self.state = State::Running { started, ready };
        }
    }

    /// When something is due even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let start = if let State::Waiting(at) = self.state { at } else { None };
        start.into_iter().chain(self.kill_at).min()
    }

    /// Runs the hook that comes before the end, if there is one.
    pub(super) fn pre_stop(&self) -> Result<(), Failure> {
        match (self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()), &self.target) {
            (Some(hook), Some(target)) if self.is_running() => run_hook(hook, target),
            _ => Ok(()),
        }
    }

    fn probe(&mut self, kind: Kind, probe: Option<Probe>, events: &Sender<Event>) {
        let (Some(probe), Some(target)) = (probe, self.target.clone()) else { return };
        let (container, run, events) = (self.index, self.run, events.clone());
        self.probers.push(Prober::start(probe, target, move |outcome| {
            // The pod may be gone.
            let _ = events.send(Event::Probed { container, run, kind, outcome });
        }));
    }
}

fn run_hook(hook: &LifecycleHandler, target: &Target) -> Result<(), Failure> {
    if let Some(exec) = &hook.exec {
        return target.exec(exec, HOOK_TIMEOUT);
    }
    if let Some(get) = &hook.http_get {
        return target.http_get(get, HOOK_TIMEOUT);
    }
    if let Some(sleep) = &hook.sleep {
        thread::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default()));
    }
    Ok(())
}
