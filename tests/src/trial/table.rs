//! Who reaches whom: tables of calls and what must become of each, over both address families, with the reason that
//! the mesh must have logged for every one that it refused.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Outcome, Trial, eventually};

/// How long a change may take to be seen everywhere, once the policy that it is about is in force.
const GRACE: Duration = Duration::from_secs(20);

/// How fast a refusal must be: no test waits for a timeout.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What must become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is answered.
    Answer,
    /// The destination's side refuses it at once (RST, for UDP port unreachable), for this reason.
    Refused(&'static str),
    /// It goes through the tunnel, whose other end refuses it: connected, and reset at once, for this reason. How much
    /// of that the client's calls see is a matter of time: a `connect` that waits apart may see the reset already.
    Reset(&'static str),
    /// The source's side refuses it at once with EPERM, for this reason.
    Forbidden(&'static str),
    /// The source's side refuses it at once with EHOSTUNREACH.
    Unreachable,
}

impl Expect {
    fn holds(self, outcome: &Outcome) -> bool {
        let (errno, failed) = match (self, outcome) {
            (Self::Answer, outcome) => return matches!(outcome, Outcome::Answered(_)),
            (_, Outcome::Answered(_)) => return false,
            (Self::Refused(_), Outcome::Failed(failed)) => ("ECONNREFUSED", failed),
            (Self::Reset(_), Outcome::Failed(failed)) => {
                let reset = ["ECONNRESET", "EPIPE", "ENOTCONN"].contains(&failed.errno.as_str());
                return reset && failed.after < AT_ONCE;
            }
            (Self::Forbidden(_), Outcome::Failed(failed)) => ("EPERM", failed),
            (Self::Unreachable, Outcome::Failed(failed)) => ("EHOSTUNREACH", failed),
        };
        failed.errno == errno && failed.after < AT_ONCE
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused(reason) | Self::Reset(reason) | Self::Forbidden(reason) => {
                Some(reason).filter(|reason| !reason.is_empty())
            }
            Self::Unreachable => Some("NoEndpoint"),
            Self::Answer => None,
        }
    }
}

impl Trial {
    /// Checks each row: from a pod (`namespace/name`) or node (`node:NAME`), to a pod's port
    /// (`[udp ]namespace/name:port`) or an address, over IPv4 and IPv6.
    ///
    /// # Panics
    /// If a row does not hold, or a refusal was not logged with its reason.
    pub fn expect(&self, rows: &[(&str, &str, Expect)]) {
        let start = Instant::now();
        let mut wrong = self.wrong(rows);
        while !wrong.is_empty() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(50));
            wrong = self.wrong(rows);
        }
        assert!(wrong.is_empty(), "not as expected:\n  {}", wrong.join("\n  "));
        for (from, to, expect) in rows {
            if let Some(reason) = expect.reason() {
                self.is_logged(from, to, reason);
            }
        }
    }

    fn wrong(&self, rows: &[(&str, &str, Expect)]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (from, to, expect) in rows {
            let (protocol, targets) = self.targets(to);
            for target in targets {
                let outcome = if protocol == "udp" { self.udp(from, target) } else { self.tcp(from, target) };
                if !expect.holds(&outcome) {
                    wrong.push(format!("{from} -> {to} ({target}): {outcome:?}, not {expect:?}"));
                }
            }
        }
        wrong
    }

    /// The addresses of a pod's or Service's port, as rows of a table name them.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn resolve(&self, to: &str) -> Vec<SocketAddr> {
        self.targets(to).1
    }

    fn targets(&self, to: &str) -> (&'static str, Vec<SocketAddr>) {
        let (protocol, to) = to.strip_prefix("udp ").map_or(("tcp", to), |to| ("udp", to));
        if let Ok(address) = to.parse() {
            return (protocol, vec![address]);
        }
        let (key, port) = to.rsplit_once(':').unwrap_or_else(|| panic!("{to:?} has no port"));
        let port = port.parse().unwrap_or_else(|_| panic!("{to:?} has no port number"));
        match key.strip_prefix("svc/") {
            Some(service) => (protocol, self.service(service, port)),
            None => {
                let addresses = self.pod(key).addresses;
                (protocol, addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
            }
        }
    }

    /// Waits until the access log has the refusal of a call that was made.
    fn is_logged(&self, from: &str, to: &str, reason: &str) {
        let (_, targets) = self.targets(to);
        // What leaves from the node's network has whichever of the node's addresses the route prefers.
        let sources = match from.strip_prefix("node:") {
            Some(_) => Vec::new(),
            None => Some(self.pod(from))
                .filter(|pod| self.node_addresses(&pod.node) != pod.addresses)
                .map_or_else(Vec::new, |pod| pod.addresses),
        };
        let seen = |target: &SocketAddr| {
            self.denials().into_iter().any(|denial| {
                let source = denial.field("source.address").parse::<SocketAddr>().ok();
                let from_there =
                    sources.is_empty() || source.is_some_and(|source| sources.contains(&source.ip()));
                let to_there = [denial.field("destination.address"), denial.field("dialled")]
                    .iter()
                    .any(|address| address.parse() == Ok(*target));
                from_there && to_there && denial.field("reason") == reason
            })
        };
        for target in targets {
            let what = format!("the access log says {reason} of {from} -> {to} ({target})");
            eventually(&what, GRACE, || seen(&target).then_some(()));
        }
    }
}
