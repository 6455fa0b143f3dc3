//! Traffic that goes on while something happens: new connections all the time, and some that stay open.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use mesh_tests::trial::{Held, Trial, eventually};

/// How soon every caller must have been answered again.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);

/// New connections one after another, and held ones, from one pod to an address of another in each family.
pub(super) struct Traffic {
    callers: Vec<Caller>,
    held: Vec<Held>,
}

/// A client that makes one connection after another. What it says is read all the time: with nobody at the other end of
/// its output it would stop.
struct Caller {
    child: Child,
    reader: Option<JoinHandle<()>>,
    tally: Arc<Mutex<Tally>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: usize,
    pub(super) failed: Vec<String>,
    pub(super) ended: Vec<String>,
}

impl Traffic {
    pub(super) fn start(cluster: &Trial, from: &str, to: &str) -> Self {
        let (mut callers, mut held) = (Vec::new(), Vec::new());
        for address in cluster.resolve(to) {
            held.push(cluster.hold(from, address, Duration::from_millis(50)));
            callers.push(Caller::start(cluster, from, &address.to_string()));
        }
        let traffic = Self { callers, held };
        traffic.goes_on();
        traffic
    }

    /// How many connections of each caller were answered so far.
    pub(super) fn so_far(&self) -> Vec<usize> {
        self.callers.iter().map(|caller| caller.tally().ok).collect()
    }

    /// Waits until every caller has made five more connections.
    pub(super) fn goes_on(&self) {
        let before = self.so_far();
        eventually("every caller makes new connections", PROGRESS_WITHIN, || {
            self.grew(&before).then_some(())
        });
    }

    /// Whether every caller has made at least five new connections since then.
    pub(super) fn grew(&self, since: &[usize]) -> bool {
        self.so_far().iter().zip(since).all(|(now, then)| *now >= then + 5)
    }

    /// Ends it and counts.
    pub(super) fn stop(self) -> Tally {
        let ended = self.held.iter().filter_map(|held| held.end(Duration::from_millis(50))).collect();
        let mut tally = Tally { ended, ..Tally::default() };
        for mut caller in self.callers {
            caller.end();
            let mut told = caller.tally();
            tally.ok += told.ok;
            tally.failed.append(&mut told.failed);
        }
        tally
    }
}

impl Caller {
    fn start(cluster: &Trial, from: &str, to: &str) -> Self {
        // A connection that takes longer than a busy machine has failed.
        let each = ["--count", "1000000", "--interval", "10", "--timeout", "15000"];
        let argv: Vec<&str> = ["mesh-echo", "client", "tcp", to].into_iter().chain(each).collect();
        let mut child = cluster.command(from, &argv).stdout(Stdio::piped()).spawn().unwrap();
        let (output, tally) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(Tally::default())));
        let into = Arc::clone(&tally);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut tally = into.lock().unwrap_or_else(PoisonError::into_inner);
                if line.starts_with("answer: ") {
                    tally.ok += 1;
                } else if line.contains(") after ") {
                    tally.failed.push(line);
                }
            }
        });
        Self { child, reader: Some(reader), tally }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it and waits until all that it said is counted.
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.end();
    }
}

impl Tally {
    /// Prints it, and fails if a connection failed or ended.
    pub(super) fn assert_whole(&self, what: &str) {
        println!(
            "{what}: {} new connections, {} failed, {} held ones ended",
            self.ok,
            self.failed.len(),
            self.ended.len()
        );
        assert!(self.ok > 50, "{what}: hardly any traffic: {self:?}");
        assert!(self.failed.is_empty() && self.ended.is_empty(), "{what}: {self:?}");
    }
}
