//! The rounds in which statuses are written to the API server: by the one that leads, some at a time, what was
//! written or could not be after all others.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch::{self, error::RecvError},
    time::sleep,
};

/// Changes that come this close together are written once.
const GATHER: Duration = Duration::from_millis(500);
/// Who begins to write of nodes waits for them to connect: until then nobody knows what is true of them.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// How fast it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two writes.
    pub(super) gap: Duration,
    /// After so many writes it is looked at anew what is to be written.
    pub(super) at_once: usize,
    /// How soon it is looked again while something rests.
    pub(super) rest: Duration,
    /// How soon while nothing does, where time alone brings a change.
    pub(super) every: Option<Duration>,
    /// How long who begins to write waits.
    pub(super) settle: Duration,
}

/// Statuses of one sort.
pub(super) trait Statuses {
    /// What has a status.
    type Object: Ord;
    /// What is to be written of it.
    type Due;

    /// How fast they are written.
    const PACE: Pace;

    /// This replica begins to lead.
    fn begin(&mut self, now: Instant);

    /// What is to be written now, from all that has changed.
    fn due(&mut self, now: Instant) -> Vec<(Self::Object, Self::Due)>;

    /// Writes one, of more than there is room for in this round or not; gives how long it is to rest.
    fn write(
        &mut self,
        object: &Self::Object,
        due: Self::Due,
        more: bool,
    ) -> impl Future<Output = Option<Duration>> + Send;

    /// Waits until something has changed.
    fn changed(&mut self) -> impl Future<Output = Result<(), RecvError>> + Send;
}

/// Writes whenever something has changed, from the first build on: what is there stays until it is known what is true
/// now. Returns when nobody can tell of changes any more.
pub(super) async fn run<S: Statuses>(
    mut statuses: S,
    mut leads: watch::Receiver<bool>,
    mut built: watch::Receiver<u64>,
) {
    let mut resting: BTreeMap<S::Object, Instant> = BTreeMap::new();
    if built.wait_for(|sequence| *sequence > 0).await.is_err() {
        return;
    }
    loop {
        if !*leads.borrow() {
            if leads.wait_for(|leads| *leads).await.is_err() {
                return;
            }
            statuses.begin(Instant::now());
            sleep(S::PACE.settle).await;
        }
        let now = Instant::now();
        let mut due = statuses.due(now);
        resting.retain(|_, until| *until > now);
        due.retain(|(object, _)| !resting.contains_key(object));
        let more = due.len() > S::PACE.at_once;
        for (object, due) in due.into_iter().take(S::PACE.at_once) {
            // Another may have taken over meanwhile.
            if !*leads.borrow() {
                break;
            }
            if let Some(rest) = statuses.write(&object, due, more).await {
                resting.insert(object, Instant::now() + rest);
            }
            sleep(S::PACE.gap).await;
        }
        if !more {
            let soon = if resting.is_empty() { S::PACE.every } else { Some(S::PACE.rest) };
            tokio::select! {
                changed = statuses.changed() => if changed.is_err() { return },
                changed = leads.changed() => if changed.is_err() { return },
                () = sleep(soon.unwrap_or_default()), if soon.is_some() => {}
            }
            sleep(GATHER).await;
        }
    }
}
