//! How a call failed: which step, with which errno, after how long. Tests match on these words.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use nix::errno::Errno;

/// A failed step of a call, printed as `connect: EPERM (Operation not permitted) after 0.08 ms`.
#[derive(Debug)]
pub struct Failure {
    step: &'static str,
    error: io::Error,
    after: Duration,
}

impl Failure {
    /// The failure of `step`, which began at `start`.
    #[must_use]
    pub fn new(step: &'static str, error: io::Error, start: Instant) -> Self {
        Self { step, error, after: start.elapsed() }
    }

    /// The name of the errno, or of the closest one where the error has none of its own.
    #[must_use]
    pub fn errno_name(&self) -> String {
        errno(&self.error).map_or_else(|| format!("{:?}", self.error.kind()), |errno| format!("{errno:?}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = errno(&self.error).map_or_else(|| self.error.to_string(), |errno| errno.desc().to_owned());
        write!(f, "{}: {} ({text}) after {}", self.step, self.errno_name(), milliseconds(self.after))
    }
}

impl std::error::Error for Failure {}

/// A duration as the programs print it, with enough digits for a refusal by the kernel.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

fn errno(error: &io::Error) -> Option<Errno> {
    match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => Some(Errno::from_raw(code)),
        // A connect timeout is the standard library's own; a read timeout is EAGAIN.
        (None, io::ErrorKind::TimedOut) => Some(Errno::ETIMEDOUT),
        (None, _) => None,
    }
}
