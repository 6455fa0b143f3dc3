//! Steady traffic: new connections one after another, and some that stay open and exchange a byte every few
//! milliseconds. For every line on its standard input it prints what has come of them so far.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::echo::{Failure, Target};

/// Pause between two new connections, and between two exchanges of an open one.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest wait for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Options of `mesh-demo traffic`.
#[derive(Debug, clap::Args)]
pub(in crate::demo) struct Args {
    #[command(flatten)]
    target: Target,
    /// How many make new connections, each one after another
    #[arg(long, default_value_t = 4)]
    callers: u32,
    /// How many connections stay open
    #[arg(long, default_value_t = 4)]
    held: u32,
}

/// What has come of the traffic so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::demo) struct Count {
    /// New connections that were made, used and closed.
    pub(in crate::demo) connections: u64,
    /// New connections that failed.
    pub(in crate::demo) failed: u64,
    /// How they failed.
    pub(in crate::demo) failures: BTreeMap<String, u64>,
    /// The longest that one which succeeded took, since this was asked last, in milliseconds.
    pub(in crate::demo) slowest: f64,
    /// Connections that stay open, and are.
    pub(in crate::demo) open: u64,
    /// Those that ended.
    pub(in crate::demo) broken: u64,
    /// Exchanges on open connections.
    pub(in crate::demo) exchanges: u64,
}

impl Count {
    /// What came since `earlier`, the question before this one.
    pub(in crate::demo) fn since(&self, earlier: &Self) -> Self {
        let failures = self.failures.iter().filter_map(|(how, count)| {
            let new = count - earlier.failures.get(how).copied().unwrap_or(0);
            (new > 0).then(|| (how.clone(), new))
        });
        Self {
            connections: self.connections - earlier.connections,
            failed: self.failed - earlier.failed,
            failures: failures.collect(),
            slowest: self.slowest,
            open: self.open,
            broken: self.broken - earlier.broken,
            exchanges: self.exchanges - earlier.exchanges,
        }
    }

    /// This and what came after it, together.
    pub(in crate::demo) fn and(mut self, later: &Self) -> Self {
        for (how, count) in &later.failures {
            *self.failures.entry(how.clone()).or_default() += count;
        }
        Self {
            connections: self.connections + later.connections,
            failed: self.failed + later.failed,
            failures: self.failures,
            slowest: self.slowest.max(later.slowest),
            open: later.open,
            broken: self.broken + later.broken,
            exchanges: self.exchanges + later.exchanges,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let start = Instant::now();
    let address = args.target.resolve()?;
    let count = Shared::default();
    for _ in 0..args.held {
        let count = count.clone();
        // These threads end with the process.
        thread::spawn(move || count.hold(address));
    }
    for _ in 0..args.callers {
        let count = count.clone();
        thread::spawn(move || count.connect(address));
    }
    for line in io::stdin().lock().lines() {
        line.map_err(|error| Failure::new("read", error, start))?;
        let text = serde_json::to_string(&count.tell()).unwrap_or_default();
        println!("{text}");
    }
    Ok(())
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Count>>);

impl Shared {
    fn note(&self, what: impl FnOnce(&mut Count)) {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self) -> Count {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = count.clone();
        count.slowest = 0.0;
        told
    }

    /// One new connection after another.
    fn connect(&self, to: SocketAddr) -> ! {
        loop {
            let start = Instant::now();
            let outcome = open(to).and_then(|mut stream| exchange(&mut stream));
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            self.note(|count| match outcome {
                Ok(()) => {
                    count.connections += 1;
                    count.slowest = count.slowest.max(milliseconds);
                }
                Err((step, error)) => {
                    count.failed += 1;
                    let how = format!("{step}: {}", Failure::new(step, error, start).errno_name());
                    *count.failures.entry(how).or_default() += 1;
                }
            });
            thread::sleep(PAUSE);
        }
    }

    /// A connection that stays open; another one once it has ended.
    fn hold(&self, to: SocketAddr) -> ! {
        loop {
            if let Ok(mut stream) = open(to) {
                self.note(|count| count.open += 1);
                while exchange(&mut stream).is_ok() {
                    self.note(|count| count.exchanges += 1);
                    thread::sleep(PAUSE);
                }
                self.note(|count| {
                    count.open -= 1;
                    count.broken += 1;
                });
            }
            thread::sleep(PAUSE * 10);
        }
    }
}

type Step = (&'static str, io::Error);

fn open(to: SocketAddr) -> Result<TcpStream, Step> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| ("connect", error))?;
    let set = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_nodelay(true));
    set.map_err(|error| ("setsockopt", error))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> Result<(), Step> {
    stream.write_all(b".").map_err(|error| ("write", error))?;
    stream.read_exact(&mut [0]).map_err(|error| ("read", error))
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn what_came_in_between_is_the_difference() {
        let failures = |count| [("read: ECONNRESET".to_owned(), count)].into();
        let before = Count { connections: 5, failed: 1, failures: failures(1), ..Count::default() };
        let after = Count { connections: 9, failed: 3, failures: failures(3), open: 4, ..Count::default() };
        let between = after.since(&before);
        assert_eq!((between.connections, between.failed, between.open), (4, 2, 4));
        assert_eq!(between.failures, failures(2));
        assert!(after.since(&after).failures.is_empty());
    }
}
