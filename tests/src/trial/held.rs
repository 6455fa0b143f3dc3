//! A connection that is kept open, for everything that closes connections or must not.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use super::Trial;

/// An open connection of `mesh-echo hold` in a pod; dropped, its process ends.
#[derive(Debug)]
pub struct Held {
    child: Child,
    lines: Receiver<String>,
    /// What it said when it was open: `holding A -> B`.
    pub opened: String,
}

impl Trial {
    /// Opens a connection and keeps it; `interval` is the time between two round trips, zero for none.
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
        let opened = lines.recv_timeout(Duration::from_secs(10)).unwrap_or_default();
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

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
