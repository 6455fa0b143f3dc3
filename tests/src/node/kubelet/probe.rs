//! Probes with the kubelet's own timings, made from the node: a thread for every probe of a running container.

mod grpc;
mod http;

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Context, process::Place};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Holds back the others until it succeeds.
    Startup,
    /// Ends the container when it fails.
    Liveness,
    /// Decides whether the pod is ready.
    Readiness,
}

/// Why one attempt failed; part of the pod's message.
pub(super) type Failure = String;

/// What is probed.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) context: Arc<Context>,
    pub(super) place: Place,
    /// The pod's address that the cluster knows as `status.podIP`.
    pub(super) address: IpAddr,
    pub(super) container: Arc<Container>,
}

/// A running probe; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Prober {
    _ends_when_dropped: mpsc::Sender<()>,
}

impl Prober {
    /// Probes until dropped; `report` is told every time the outcome changes.
    pub(super) fn start(
        probe: Probe,
        target: Target,
        report: impl Fn(Result<(), Failure>) + Send + 'static,
    ) -> Self {
        let (sender, dropped) = mpsc::channel();
        let seconds = |field: Option<i32>, default: u64| {
            Duration::from_secs(field.and_then(|count| u64::try_from(count).ok()).unwrap_or(default))
        };
        let delay = seconds(probe.initial_delay_seconds, 0);
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        thread::spawn(move || {
            let mut tally = Tally::new(probe.success_threshold, probe.failure_threshold);
            let mut pause = delay;
            // Any other answer than a timeout means that the container is gone.
            while dropped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                pause = period;
                let outcome = target.attempt(&probe);
                if tally.counts(outcome.is_ok()) {
                    report(outcome);
                }
            }
        });
        Self { _ends_when_dropped: sender }
    }
}

/// Counts outcomes until enough of a kind have come in a row.
#[derive(Debug)]
struct Tally {
    thresholds: [u32; 2],
    in_a_row: u32,
    last: Option<bool>,
    told: Option<bool>,
}

impl Tally {
    fn new(success: Option<i32>, failure: Option<i32>) -> Self {
        let threshold = |field: Option<i32>, default| {
            field.and_then(|count| u32::try_from(count).ok()).unwrap_or(default).max(1)
        };
        Self {
            thresholds: [threshold(failure, 3), threshold(success, 1)],
            in_a_row: 0,
            last: None,
            told: None,
        }
    }

    /// Takes an outcome; says whether it is now settled and news.
    fn counts(&mut self, success: bool) -> bool {
        self.in_a_row = if self.last == Some(success) { self.in_a_row + 1 } else { 1 };
        self.last = Some(success);
        let settled = self.in_a_row >= self.thresholds[usize::from(success)];
        let news = settled && self.told != Some(success);
        if news {
            self.told = Some(success);
        }
        news
    }
}

impl Target {
    /// Makes one attempt.
    fn attempt(&self, probe: &Probe) -> Result<(), Failure> {
        let seconds = probe.timeout_seconds.and_then(|count| u64::try_from(count).ok()).unwrap_or(1).max(1);
        let timeout = Duration::from_secs(seconds);
        if let Some(exec) = &probe.exec {
            self.exec(exec, timeout)
        } else if let Some(get) = &probe.http_get {
            self.http_get(get, timeout)
        } else if let Some(socket) = &probe.tcp_socket {
            let address = self.socket_address(socket.host.as_deref(), &socket.port)?;
            let connected = TcpStream::connect_timeout(&address, timeout);
            connected.map(drop).map_err(|error| format!("tcpSocket {address}: {error}"))
        } else if let Some(call) = &probe.grpc {
            let address = self.socket_address(None, &IntOrString::Int(call.port))?;
            grpc::check(address, call.service.clone().unwrap_or_default(), timeout)
        } else {
            Err("the probe has no way to probe".to_owned())
        }
    }

    /// Runs a command in the container.
    pub(super) fn exec(&self, exec: &ExecAction, timeout: Duration) -> Result<(), Failure> {
        let argv = exec.command.clone().unwrap_or_default();
        let shown = argv.join(" ");
        let mut child = self.place.exec(&self.context, argv).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + timeout;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("exec `{shown}`: {status}")),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                _ => {
                    // It may have ended just now.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("exec `{shown}`: no end within {timeout:?}"));
                }
            }
        }
    }

    /// Makes an HTTP request.
    pub(super) fn http_get(&self, get: &HTTPGetAction, timeout: Duration) -> Result<(), Failure> {
        let address = self.socket_address(get.host.as_deref(), &get.port)?;
        http::get(address, get, timeout)
    }

    fn socket_address(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, Failure> {
        let address = match host {
            None => self.address,
            Some(host) => host.parse().map_err(|_| format!("host {host:?} is no address"))?,
        };
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let ports = self.container.ports.iter().flatten();
                let named = ports
                    .filter(|port| port.name.as_deref() == Some(name))
                    .map(|port| port.container_port)
                    .next();
                named.or_else(|| name.parse().ok())
            }
        };
        let number = number.and_then(|number| u16::try_from(number).ok());
        let number = number.ok_or_else(|| format!("the container has no port {port:?}"))?;
        Ok(SocketAddr::new(address, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_in_a_row_and_tell_once() {
        let mut tally = Tally::new(Some(2), Some(3));
        let told: Vec<bool> =
            [false, false, true, true, true, false, false, true, false, false, false, false]
                .map(|success| tally.counts(success))
                .to_vec();
        assert_eq!(told, [false, false, false, true, false, false, false, false, false, false, true, false]);
    }
}
