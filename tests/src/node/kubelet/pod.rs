//! The life of one pod: sandbox, init containers, containers, restarts, termination. One thread; everything that
//! happens to the pod comes to it as an event.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::PodSpec;

use super::{
    Context,
    container::Container,
    environment::environment,
    phase::{RestartPolicy, Role, State, is_ready, phase},
    probe::{Failure, Kind},
    process::Place,
    sandbox::Sandbox,
    status::{Status, now, publish, withdraw},
    volumes,
};
use crate::node::PodAssignment;

/// How long until something that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const GRACE: Duration = Duration::from_secs(30);

/// Something that happened to a pod.
#[derive(Debug)]
pub(super) enum Event {
    /// It is no longer wanted.
    Terminate,
    /// A container's process ended.
    Exited { container: usize, run: u32, status: i32 },
    /// A probe's outcome changed.
    Probed { container: usize, run: u32, kind: Kind, outcome: Result<(), Failure> },
}

struct Pod {
    context: Arc<Context>,
    assignment: PodAssignment,
    spec: PodSpec,
    policy: RestartPolicy,
    containers: Vec<Container>,
    sandbox: Option<Sandbox>,
    volumes: Option<BTreeMap<String, PathBuf>>,
    ever_ran: bool,
    status: Status,
    events: Sender<Event>,
}

/// Lives the pod's life until it is gone.
pub(super) fn run(
    context: &Arc<Context>,
    assignment: PodAssignment,
    events: Sender<Event>,
    incoming: &Receiver<Event>,
) {
    let spec = assignment.pod.spec.clone().unwrap_or_default();
    let status = Status {
        phase: "Pending",
        ready: false,
        has_address: false,
        started: None,
        deleted: None,
        message: None,
    };
    let mut pod = Pod {
        policy: RestartPolicy::of(spec.restart_policy.as_deref()),
        containers: containers(&spec),
        context: Arc::clone(context),
        assignment,
        spec,
        sandbox: None,
        volumes: None,
        ever_ran: false,
        status,
        events,
    };
    publish(&pod.context, &pod.assignment, &pod.status);
    pod.live(incoming);
    pod.terminate(incoming);
    withdraw(&pod.context, &pod.assignment);
}

fn containers(spec: &PodSpec) -> Vec<Container> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (if sidecar { Role::Sidecar } else { Role::Init }, container.clone())
    });
    let main = spec.containers.iter().map(|container| (Role::Main, container.clone()));
    let all = init.chain(main).enumerate();
    all.map(|(index, (role, container))| Container::new(index, role, container)).collect()
}

impl Pod {
    /// Until it is no longer wanted.
    fn live(&mut self, incoming: &Receiver<Event>) {
        let mut retry = None;
        loop {
            if retry.is_none_or(|at| at <= Instant::now()) {
                retry = match self.advance() {
                    Ok(()) => None,
                    Err(message) => {
                        self.status.message = Some(message);
                        Some(Instant::now() + RETRY)
                    }
                };
            }
            self.update();
            let next = self.containers.iter().filter_map(Container::next_deadline).chain(retry).min();
            let event = match next {
                Some(at) => incoming.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Terminate) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Does the next thing that can be done towards a running pod.
    fn advance(&mut self) -> Result<(), String> {
        self.kill_overdue();
        if matches!(self.status.phase, "Succeeded" | "Failed") {
            return Ok(());
        }
        if self.sandbox.is_none() {
            self.sandbox =
                Some(Sandbox::create(&self.context, &self.assignment).map_err(|error| error.to_string())?);
            self.status.has_address = true;
            self.status.started = Some(now());
            // The address is known before anything runs under it.
            publish(&self.context, &self.assignment, &self.status);
        }
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            if let State::Waiting(at) = container.state
                && at.is_none_or(|at| at <= Instant::now())
            {
                self.start(index)?;
            }
            let container = &self.containers[index];
            let holds_back = match container.role {
                Role::Init => container.state != State::Ended(0),
                Role::Sidecar => !matches!(container.state, State::Running { started: true, .. }),
                Role::Main => false,
            };
            if holds_back {
                return Ok(());
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), String> {
        let Some(sandbox) = &self.sandbox else { return Ok(()) };
        let (context, container) = (&self.context, &mut self.containers[index]);
        let sources = context.sources();
        if self.volumes.is_none() {
            let filled = volumes::fill(&context.config, &self.assignment, &sources, &sandbox.files);
            self.volumes = Some(filled.map_err(|error| error.to_string())?);
        }
        let folders = self.volumes.clone().unwrap_or_default();
        let view = volumes::view(&container.spec, &folders, sandbox).map_err(|error| error.to_string())?;
        let environment = environment(&context.config, &self.assignment, &container.spec, &sources);
        let environment = environment.map_err(|error| error.to_string())?;
        let place = Place::new(context, &self.assignment, sandbox, &container.spec, environment, view);
        let started = place.and_then(|place| container.start(context, &self.assignment, place, &self.events));
        started.map_err(|error| error.to_string())?;
        self.ever_ran |= container.role == Role::Main;
        self.status.message = None;
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Terminate => {}
            Event::Exited { container, run, status } => {
                let container = &mut self.containers[container];
                if container.run == run {
                    container.has_ended(self.policy, status);
                    // What it left behind ends with it.
                    container.kill(&self.context, &self.assignment.uid);
                    let name = &container.spec.name;
                    self.status.message =
                        (status != 0).then(|| format!("container {name} ended with status {status}"));
                }
            }
            Event::Probed { container, run, kind, outcome } => {
                let grace = self.grace();
                let container = &mut self.containers[container];
                if container.run != run || !container.is_running() {
                    return;
                }
                if let Err(failure) = &outcome {
                    self.status.message =
                        Some(format!("container {}: {kind:?} probe: {failure}", container.spec.name));
                }
                match (kind, outcome.is_ok()) {
                    (Kind::Startup, true) => container.has_started(&self.events),
                    (Kind::Startup | Kind::Liveness, false) => container.stop(grace),
                    (Kind::Liveness, true) => {}
                    (Kind::Readiness, ready) => container.set_ready(ready),
                }
            }
        }
    }

    /// Tells what changed. A pod that has run its course gives its sandbox back.
    fn update(&mut self) {
        let states: Vec<_> =
            self.containers.iter().map(|container| (container.role, container.state)).collect();
        self.status.phase = phase(&states, self.ever_ran);
        self.status.ready = self.status.deleted.is_none() && is_ready(&states);
        if self.status.ready {
            self.status.message = None;
        }
        publish(&self.context, &self.assignment, &self.status);
        if matches!(self.status.phase, "Succeeded" | "Failed") {
            self.destroy_sandbox();
        }
    }

    /// Ends the pod as its manifest wants it ended.
    fn terminate(&mut self, incoming: &Receiver<Event>) {
        let deadline = Instant::now() + self.grace();
        self.status.deleted = Some(now());
        self.status.ready = false;
        publish(&self.context, &self.assignment, &self.status);
        for container in &mut self.containers {
            if let Err(failure) = container.pre_stop() {
                tracing::warn!(pod = %self.assignment.key, container = container.spec.name, failure, "preStop hook");
            }
            container.stop(deadline.saturating_duration_since(Instant::now()));
        }
        while self.containers.iter().any(Container::is_running) {
            match incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Exited { container, run, status }) if self.containers[container].run == run => {
                    self.containers[container].has_ended(RestartPolicy::Never, status);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.destroy_sandbox();
    }

    fn kill_overdue(&mut self) {
        for container in &mut self.containers {
            if container.kill_at.is_some_and(|at| at <= Instant::now()) {
                container.kill(&self.context, &self.assignment.uid);
            }
        }
    }

    fn destroy_sandbox(&mut self) {
        if let Some(Err(error)) = self.sandbox.take().map(Sandbox::destroy) {
            tracing::error!(pod = %self.assignment.key, %error, "cannot remove the pod's sandbox");
        }
    }

    fn grace(&self) -> Duration {
        let seconds = self.spec.termination_grace_period_seconds;
        seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(GRACE, Duration::from_secs)
    }
}
