//! New connections all the time, from one pod to several places; every failure counts.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use mesh_tests::trial::{Trial, eventually};

/// Connections of one process of the client.
const AT_ONCE: u64 = 100;

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    ok: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// Traffic until it is stopped.
pub(super) struct Storms {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Storms {
    /// Starts a caller for every address of every place.
    pub(super) fn start(trial: &Trial, from: &str, to: &[&str]) -> Self {
        let tally = Arc::new(Tally::default());
        let addresses: Vec<_> = to.iter().flat_map(|to| trial.resolve(to)).collect();
        let count = AT_ONCE.to_string();
        let caller = |address: &std::net::SocketAddr| {
            let address = address.to_string();
            // A connection that takes longer than a busy machine has failed.
            let each = ["--connections", &count, "--concurrency", "2", "--timeout", "20000"];
            let argv: Vec<&str> = ["mesh-echo", "storm", &address].into_iter().chain(each).collect();
            let mut command = trial.command(from, &argv);
            let tally = Arc::clone(&tally);
            thread::spawn(move || {
                while !tally.stop.load(Ordering::Relaxed) {
                    tally.note(&address, &command.output().unwrap());
                }
            })
        };
        let threads = addresses.iter().map(caller).collect();
        let storms = Self { tally, threads };
        storms.goes_on();
        storms
    }

    /// Waits until there were more.
    pub(super) fn goes_on(&self) {
        let before = self.tally.ok.load(Ordering::Relaxed);
        let enough = AT_ONCE * 2 * self.threads.len() as u64;
        eventually("new connections are made", Duration::from_secs(60), || {
            (self.tally.ok.load(Ordering::Relaxed) >= before + enough).then_some(())
        });
    }

    /// How many were answered, and how the others failed.
    pub(super) fn stop(self) -> (u64, Vec<String>) {
        self.tally.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let failed = std::mem::take(&mut *self.tally.failed.lock().unwrap_or_else(PoisonError::into_inner));
        (self.tally.ok.load(Ordering::Relaxed), failed)
    }
}

impl Tally {
    fn fail(&self, how: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(how);
    }

    fn note(&self, to: &str, output: &std::process::Output) {
        let text = String::from_utf8_lossy(&output.stdout);
        let ok = text.split_whitespace().find_map(|word| word.strip_prefix("ok=")?.parse().ok());
        self.ok.fetch_add(ok.unwrap_or(0), Ordering::Relaxed);
        if ok != Some(AT_ONCE) {
            let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.fail(format!(
                "{:.3} {to}: {text}{}",
                at.as_secs_f64(),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
}
