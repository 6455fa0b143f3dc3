//! A connection that is kept open, for everything that closes connections or must not.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use super::Trial;

/// How long one may take to be open.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// An open connection of `mesh-echo hold` in a pod; dropped, its process ends.
#[derive(Debug)]
pub struct Held {
    child: Child,
    lines: Receiver<String>,
    /// What it said when it was open: `holding A -> B`.
    pub opened: String,
}

impl Trial {
    /// Opens a connection and keeps it; `interval` is the time between two round trips, of which the first has been,
    /// and zero for none.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn hold(&self, from: &str, to: impl ToString, interval: Duration) -> Held {
        let (to, interval) = (to.to_string(), interval.as_millis().to_string());
        let mut command = self.command(from, &["mesh-echo", "hold", &to, "--interval", &interval]);
        let mut child =
            command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{from}: {error}"));
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens any longer once the test is over.
                let _ = sender.send(line);
            }
        });
        let opened = lines.recv_timeout(OPEN_WITHIN).unwrap_or_default();
        assert!(opened.starts_with("holding"), "{from} -> {to}: {opened}");
        Held { child, lines, opened }
    }
}

impl Held {
    /// How it ended, if it does within `limit`.
    #[must_use]
    pub fn end(&self, limit: Duration) -> Option<String> {
        self.lines.recv_timeout(limit).ok()
    }

    /// Checks that it is still open.
    ///
    /// # Panics
    /// If it is not.
    pub fn is_open(&self) {
        if let Ok(end) = self.lines.try_recv() {
            panic!("the connection ended: {end}");
        }
    }
}

/// How each of them ends, and how long after `start`: all are watched at once. `None` for one that is open still when
/// `limit` has passed since then.
#[must_use]
pub fn ends(held: &[Held], start: Instant, limit: Duration) -> Vec<Option<(String, Duration)>> {
    let mut ends: Vec<_> = held.iter().map(|_| None).collect();
    while ends.iter().any(Option::is_none) && start.elapsed() < limit {
        for (held, end) in held.iter().zip(&mut ends).filter(|(_, end)| end.is_none()) {
            *end = held.end(Duration::from_millis(5)).map(|said| (said, start.elapsed()));
        }
    }
    ends
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
