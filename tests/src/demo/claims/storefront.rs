//! The storefront: whom the claims about requests ask, and how.

use std::net::SocketAddr;

use crate::{
    demo::{
        Error,
        bed::wait_for,
        stage::{CLERK, Stage},
    },
    http::{
        caller::{Ask, Caller},
        order::{Answer, Seen, Version},
    },
};

/// Both versions, as they are called.
pub(super) const VERSIONS: [(Version, &str); 2] = [(Version::Http1, "HTTP/1.1"), (Version::Http2, "HTTP/2")];

/// A client in the clerk's pod, and the storefront's address.
pub(super) struct Storefront {
    caller: Caller,
    /// What is dialled.
    pub(super) vip: SocketAddr,
}

impl Storefront {
    /// Starts a client that dials this Service by the family of this `mesh-echo` option.
    pub(super) fn open(stage: &Stage, service: &str, family: &str) -> Result<Self, Error> {
        let vip = SocketAddr::new(stage.vip("shop", service, family)?, 80);
        let command = stage.bed.command(CLERK.0, CLERK.1, &["mesh-http", "client"])?;
        let caller = Caller::start(command).map_err(Error::io("run mesh-http in the clerk's pod"))?;
        Ok(Self { caller, vip })
    }

    /// A request in the making.
    pub(super) fn get(&self, path: &str) -> Ask {
        Ask::get(self.vip, path)
    }

    /// Asks, and is to be answered by somebody.
    pub(super) fn ask(&self, ask: &Ask) -> Result<Answer, Error> {
        self.caller.ask(ask).map(|answer| *answer).map_err(|failed| Error::Unexpected {
            program: "a request that should be answered".to_owned(),
            said: format!("{}: {} (status {:?})", failed.step, failed.problem, failed.status),
        })
    }

    /// Asks, and is to be answered by the application.
    pub(super) fn served(&self, ask: &Ask) -> Result<(Answer, Seen), Error> {
        let answer = self.ask(ask)?;
        match answer.seen() {
            Some(seen) => Ok((answer, seen)),
            None => Err(Error::Unexpected {
                program: "a request that the application should answer".to_owned(),
                said: format!("{}: {}", answer.status(), answer.text),
            }),
        }
    }

    /// Asks until an answer is as wanted.
    pub(super) fn wait(&self, what: &str, ask: &Ask, wanted: impl Fn(&Answer) -> bool) -> Result<(), Error> {
        wait_for(what, std::time::Duration::from_secs(60), || match self.ask(ask) {
            Ok(answer) if wanted(&answer) => Ok(()),
            Ok(answer) => Err(format!("{}: {}", answer.status(), answer.text)),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// Whether the engine had the request in its hands: it gives one without an identifier one.
pub(super) fn through_the_engine(seen: &Seen) -> bool {
    seen.headers.iter().any(|(name, _)| name == "x-request-id")
}
