//! A stream of requests that goes on while something changes, with every failure counted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::scene::{Way, seen_by_engine};

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By answering pod.
    pub(crate) pods: BTreeMap<String, u64>,
    /// What was no answer of a pod with status 200 through the engine.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// All that were answered.
    pub(crate) fn all(&self) -> u64 {
        self.pods.values().sum()
    }

    /// The part of one pod.
    pub(crate) fn share(&self, pod: &str) -> f64 {
        self.pods.get(pod).copied().unwrap_or_default() as f64 / self.all().max(1) as f64
    }

    /// So many requests on every way, one after another: half of them on one connection, half on one each.
    pub(crate) fn of(ways: &[Way], each: usize) -> Self {
        let tally = Mutex::new(Self::default());
        thread::scope(|scope| {
            for way in ways {
                let tally = &tally;
                scope.spawn(move || (0..each).for_each(|round| note(tally, way, round)));
            }
        });
        tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks on every way for as long as `work` takes; gives what came of it. It must have been many.
pub(crate) fn while_asking<T>(ways: &[Way], work: impl FnOnce() -> T) -> (T, Tally) {
    let (tally, ended) = (Mutex::new(Tally::default()), AtomicBool::new(false));
    let done = thread::scope(|scope| {
        for way in ways {
            let (tally, ended) = (&tally, &ended);
            scope.spawn(move || {
                let rounds = (0..).take_while(|_| !ended.load(Ordering::Relaxed));
                rounds.for_each(|round| {
                    note(tally, way, round);
                    thread::sleep(Duration::from_millis(5));
                });
            });
        }
        thread::sleep(Duration::from_millis(500));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        thread::sleep(Duration::from_millis(500));
        ended.store(true, Ordering::Relaxed);
        done
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(tally.all() + tally.failures.len() as u64 > 50, "too few to tell: {tally:?}");
    (done, tally)
}

fn note(tally: &Mutex<Tally>, way: &Way, round: usize) {
    let ask = way.get("/").header("x-round", round);
    let ask = if round.is_multiple_of(2) { ask.over(&format!("weight {way}")) } else { ask };
    let seen = way.try_ask(&ask).and_then(|answer| match answer.status() {
        200 => seen_by_engine(&answer),
        _ => Err(format!("{answer:?}")),
    });
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    match seen {
        Ok(seen) => *tally.pods.entry(seen.pod).or_default() += 1,
        Err(problem) => tally.failures.push(format!("{way}: {problem}")),
    }
}
