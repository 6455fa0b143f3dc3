//! Steady traffic from a pod, see [`in_pod::traffic`](super::in_pod::traffic), and what has come of it so far.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout},
    time::Duration,
};

use super::{
    Error,
    bed::wait_for,
    in_pod::traffic::Count,
    stage::{PodName, Stage},
};

/// How long the connections that stay open may take to be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections that stay open.
const HELD: u64 = 4;

/// Traffic under way; ended when dropped.
#[derive(Debug)]
pub(super) struct Traffic {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    name: String,
    last: Count,
}

impl Traffic {
    /// Starts it, and waits until connections are made and some are open.
    pub(super) fn start(stage: &Stage, from: PodName, to: &str, family: &str) -> Result<Self, Error> {
        let held = format!("--held={HELD}");
        let mut child = stage.spawn(from, &["mesh-demo", "traffic", family, held.as_str(), to])?;
        let missing = || Error::io("talk to mesh-demo")(std::io::ErrorKind::BrokenPipe.into());
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(missing());
        };
        let name = format!("mesh-demo traffic {to} in {from}");
        let mut traffic = Self { child, input, output: BufReader::new(output), name, last: Count::default() };
        wait_for("traffic to flow", PATIENCE, || {
            let count = traffic.ask().map_err(|error| error.to_string())?;
            if count.open == HELD && count.connections > 0 { Ok(()) } else { Err(format!("{count:?}")) }
        })?;
        // What failed until then is not counted.
        traffic.last = traffic.ask()?;
        Ok(traffic)
    }

    /// What came of it since this was asked last.
    pub(super) fn since_last(&mut self) -> Result<Count, Error> {
        let now = self.ask()?;
        let since = now.since(&self.last);
        self.last = now;
        Ok(since)
    }

    fn ask(&mut self) -> Result<Count, Error> {
        let talk = || Error::io(format!("talk to {}", self.name));
        self.input.write_all(b"\n").map_err(talk())?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(talk())?;
        serde_json::from_str(&line)
            .map_err(|source| Error::Json { what: format!("{line:?}, said by {},", self.name), source })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, failed, failures, slowest, open, broken, exchanges } = self;
        write!(f, "{connections} new connections, {failed} failed")?;
        for (how, count) in failures {
            write!(f, " ({count} x {how})")?;
        }
        write!(
            f,
            ", the slowest took {slowest:.0} ms; {open} stayed open with {exchanges} exchanges, {broken} broke"
        )
    }
}
