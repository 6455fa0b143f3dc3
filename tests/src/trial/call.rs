//! One call by `mesh-echo client`, and what its socket said of it.

use std::{net::SocketAddr, time::Duration};

use super::Trial;

/// How a call went.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Answered(Answer),
    /// It failed.
    Failed(Failed),
}

/// What the client's socket and the server said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `getsockname` of the client.
    pub local: SocketAddr,
    /// `getpeername` of the client.
    pub peer: SocketAddr,
    /// The server's answer.
    pub text: String,
}

/// Which step failed, how and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// `connect`, `send`, `read`...
    pub step: String,
    /// The errno's name.
    pub errno: String,
    /// How long it took.
    pub after: Duration,
}

impl Answer {
    /// A `key=value` of the answer to `WHO`, such as `host` or `peer`.
    #[must_use]
    pub fn word(&self, key: &str) -> &str {
        let pairs = self.text.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value).unwrap_or_default()
    }

    /// The name of the pod that answered.
    #[must_use]
    pub fn host(&self) -> &str {
        self.word("host")
    }
}

impl Outcome {
    /// The answer.
    ///
    /// # Panics
    /// If there was none.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        match self {
            Self::Answered(answer) => answer,
            Self::Failed(failed) => panic!("the call failed: {failed:?}"),
        }
    }

    /// The failure.
    ///
    /// # Panics
    /// If it did not fail.
    #[must_use]
    pub fn failure(&self) -> &Failed {
        match self {
            Self::Answered(answer) => panic!("the call was answered: {answer:?}"),
            Self::Failed(failed) => failed,
        }
    }
}

impl Trial {
    /// A TCP call from a pod or node.
    #[must_use]
    pub fn tcp(&self, from: &str, to: impl ToString) -> Outcome {
        self.call(from, "tcp", to, &[])
    }

    /// A UDP call from a pod or node.
    #[must_use]
    pub fn udp(&self, from: &str, to: impl ToString) -> Outcome {
        self.call(from, "udp", to, &["--timeout", "1500"])
    }

    /// A call over `tcp`, `http` or `udp` with more options of `mesh-echo client`.
    ///
    /// # Panics
    /// If the client says nothing that can be understood.
    #[must_use]
    pub fn call(&self, from: &str, protocol: &str, to: impl ToString, options: &[&str]) -> Outcome {
        let all = self.calls(from, protocol, to, options);
        all.into_iter().next_back().unwrap_or_else(|| panic!("the client in {from} said nothing"))
    }

    /// Several calls of one client process (`--count`), in order.
    #[must_use]
    pub fn calls(&self, from: &str, protocol: &str, to: impl ToString, options: &[&str]) -> Vec<Outcome> {
        let to = to.to_string();
        let mut argv = vec!["mesh-echo", "client", protocol, to.as_str()];
        argv.extend(options);
        outcomes(&self.run_in(from, &argv))
    }

    /// Which pod answered each of `count` TCP calls.
    ///
    /// # Panics
    /// If one was not answered.
    #[must_use]
    pub fn hosts(&self, from: &str, to: impl ToString, count: u32) -> Vec<String> {
        let outcomes = self.calls(from, "tcp", to, &["--count", &count.to_string()]);
        assert_eq!(outcomes.len(), count as usize, "{outcomes:?}");
        outcomes.iter().map(|outcome| outcome.answer().host().to_owned()).collect()
    }
}

/// The client's output: `tcp: connected A -> B in 0.1 ms`, `answer: ...` and `round trip: ...` for a call that was
/// answered, `connect: EPERM (...) after 0.1 ms` for one that failed.
fn outcomes(output: &str) -> Vec<Outcome> {
    let mut all = Vec::new();
    let mut connected = None;
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(ends) = line.split_once(": connected ").map(|(_, rest)| rest) {
            let mut words = ends.split_whitespace();
            let local = words.next().and_then(|word| word.parse().ok());
            let peer = words.nth(1).and_then(|word| word.parse().ok());
            connected = local.zip(peer);
        } else if let Some(first) = line.strip_prefix("answer: ") {
            let mut text = first.to_owned();
            while let Some(more) = lines.next_if(|line| !line.starts_with("round trip: ")) {
                text.push('\n');
                text.push_str(more);
            }
            let (local, peer) =
                connected.take().unwrap_or_else(|| panic!("an answer to no call in {output:?}"));
            all.push(Outcome::Answered(Answer { local, peer, text }));
        } else if let Some(failed) = failure(line) {
            all.push(Outcome::Failed(failed));
        }
    }
    all
}

fn failure(line: &str) -> Option<Failed> {
    let (step, rest) = line.split_once(": ")?;
    let (said, after) = rest.rsplit_once(" after ")?;
    let errno = said.split_whitespace().next()?.to_owned();
    let milliseconds: f64 = after.strip_suffix(" ms")?.parse().ok()?;
    Some(Failed { step: step.to_owned(), errno, after: Duration::from_secs_f64(milliseconds / 1000.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_are_told_apart() {
        let all = outcomes(
            "tcp: connected 10.0.0.2:4 -> [fd00::1]:80 in 0.10 ms\nanswer: peer=x local=y host=a\nround trip: 0.20 ms\n\
             connect: EPERM (Operation not permitted) after 0.08 ms\n",
        );
        assert_eq!(all[0].answer().host(), "a");
        assert_eq!(all[0].answer().peer.port(), 80);
        let failed = all[1].failure();
        assert_eq!((failed.step.as_str(), failed.errno.as_str()), ("connect", "EPERM"));
        assert_eq!(failed.after, Duration::from_micros(80));
    }
}
