//! What `mesh-echo client` says of a call, read back: the client's socket and the server's, or how it was refused.

use std::{net::SocketAddr, process::Output};

use super::Error;

/// A call and its outcome.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// It was answered.
    Answered(Answer),
    /// It was not.
    Failed(Failure),
}

/// What both ends saw of an answered call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// `getsockname` of the client.
    pub(super) client: SocketAddr,
    /// `getpeername` of the client: whom it believes to talk to.
    pub(super) client_peer: SocketAddr,
    /// Whom the server's `accept` and `getpeername` show.
    pub(super) server_peer: SocketAddr,
    /// Name of the pod that answered.
    pub(super) host: String,
    /// Time to connect.
    pub(super) milliseconds: f64,
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    /// Which system call.
    pub(super) step: String,
    /// Name of the errno.
    pub(super) errno: String,
    /// Time until it failed.
    pub(super) milliseconds: f64,
}

impl Call {
    /// Reads the output of `mesh-echo client`.
    pub(super) fn read(output: &Output) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| Error::Unexpected {
            program: "mesh-echo".to_owned(),
            said: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// The answer of a call that is to be answered.
    pub(super) fn answered(self) -> Result<Answer, Error> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::Failed(failure) => Err(Error::Unexpected {
                program: "a call that should be answered".to_owned(),
                said: failure.to_string(),
            }),
        }
    }

    /// The failure of a call that is to fail.
    pub(super) fn failed(self) -> Result<Failure, Error> {
        match self {
            Self::Failed(failure) => Ok(failure),
            Self::Answered(answer) => Err(Error::Unexpected {
                program: "a call that should fail".to_owned(),
                said: format!("{answer:?}"),
            }),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} after {:.2} ms", self.step, self.errno, self.milliseconds)
    }
}

fn parse(text: &str) -> Option<Call> {
    let last = text.lines().last()?;
    // connect: EPERM (Operation not permitted) after 0.08 ms
    if let Some((what, after)) = last.rsplit_once(" after ") {
        let (step, reason) = what.split_once(": ")?;
        let errno = reason.split(' ').next()?;
        let milliseconds = after.strip_suffix(" ms")?.parse().ok()?;
        return Some(Call::Failed(Failure { step: step.to_owned(), errno: errno.to_owned(), milliseconds }));
    }
    // tcp: connected 10.0.0.2:40000 -> 10.0.0.3:9000 in 0.31 ms
    let connected = text.lines().find_map(|line| line.split_once(": connected "))?.1;
    let (sockets, took) = connected.split_once(" in ")?;
    let (client, client_peer) = sockets.split_once(" -> ")?;
    // answer: peer=10.0.0.2:40000 local=10.0.0.3:9000 host=ledger-a
    let answer = text.lines().find_map(|line| line.strip_prefix("answer: "))?;
    let field = |name: &str| answer.split(' ').find_map(|word| word.strip_prefix(name));
    Some(Call::Answered(Answer {
        client: client.parse().ok()?,
        client_peer: client_peer.parse().ok()?,
        server_peer: field("peer=")?.parse().ok()?,
        host: field("host=")?.to_owned(),
        milliseconds: took.strip_suffix(" ms")?.parse().ok()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answered_call_is_read() {
        let text = "tcp: connected 10.0.0.2:40000 -> 10.9.0.1:9000 in 0.31 ms\n\
                    answer: peer=10.0.0.2:40000 local=10.0.0.3:7000 host=ledger-a\nround trip: 0.10 ms\n";
        let Some(Call::Answered(answer)) = parse(text) else { panic!() };
        assert_eq!(answer.client_peer.to_string(), "10.9.0.1:9000");
        assert_eq!((answer.server_peer, answer.host.as_str()), (answer.client, "ledger-a"));
    }

    #[test]
    fn a_refused_call_is_read() {
        let Some(Call::Failed(failure)) = parse("connect: EPERM (Operation not permitted) after 0.08 ms\n")
        else {
            panic!()
        };
        assert_eq!(failure.to_string(), "connect: EPERM after 0.08 ms");
        assert_eq!(parse("nonsense"), None);
    }
}
