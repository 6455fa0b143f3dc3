//! Of several controllers one writes statuses: the one that holds the `Lease`
//! (`coordination.k8s.io/v1`) named `mesh-control`. Everything else every replica does.
//!
//! Clocks of different machines are never compared: a holder is given up when its lease has not
//! changed for the lease's duration, by the clock of the one that looks.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::source::{random, told};

/// The name of the lease.
const NAME: &str = "mesh-control";
/// A holder that is silent for this long has lost it.
const DURATION: Duration = Duration::from_secs(20);
/// A holder that could not renew for this long stops: before anybody else begins.
const DEADLINE: Duration = Duration::from_secs(13);
/// How often it is looked at, and up to half of that later.
const PERIOD: Duration = Duration::from_secs(4);
/// A request must be answered within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// What to do about the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Nobody made it yet.
    Create,
    /// It is free, or its holder silent: take it.
    Take,
    /// It is ours: say that we are there.
    Renew,
    /// Another has it.
    Wait,
}

/// What a replica knows of the lease.
#[derive(Debug)]
struct Election {
    me: String,
    /// Holder and renewal as they were seen last, and since when they are so.
    seen: Option<(Option<String>, Option<MicroTime>, Instant)>,
    /// When it was made ours, or renewed, last.
    held: Option<Instant>,
}

impl Election {
    fn new(me: String) -> Self {
        Self { me, seen: None, held: None }
    }

    fn decide(&mut self, lease: Option<&LeaseSpec>, now: Instant) -> Move {
        let Some(lease) = lease else { return Move::Create };
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        if holder == self.me {
            return Move::Renew;
        }
        // Somebody else has it now, whatever we held.
        self.held = None;
        if holder.is_empty() {
            return Move::Take;
        }
        let same = self
            .seen
            .as_ref()
            .filter(|(holder, renewed, _)| *holder == lease.holder_identity && *renewed == lease.renew_time);
        let Some((_, _, since)) = same else {
            self.seen = Some((lease.holder_identity.clone(), lease.renew_time.clone(), now));
            return Move::Wait;
        };
        let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs);
        if now.duration_since(*since) >= duration { Move::Take } else { Move::Wait }
    }

    /// A write that was begun at this time went through.
    fn wrote(&mut self, began: Instant) {
        self.held = Some(began);
    }

    /// Whether this replica may write.
    fn leads(&self, now: Instant) -> bool {
        self.held.is_some_and(|held| now.duration_since(held) < DEADLINE)
    }

    /// The lease as this move makes it.
    fn made(&self, made: Move, last: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let last = last.cloned().unwrap_or_default();
        let moved = made != Move::Renew;
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if moved { Some(MicroTime(now)) } else { last.acquire_time },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(last.lease_transitions.unwrap_or(0) + i32::from(made == Move::Take)),
            ..LeaseSpec::default()
        }
    }
}

/// Takes part in the election of a namespace, under a name that begins with `me`, until nobody asks
/// for the outcome any more.
pub async fn elect(client: Client, namespace: String, me: String, leads: watch::Sender<bool>) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let mut election = Election::new(format!("{me}_{:016x}", random()));
    while !leads.is_closed() {
        // A request that goes on for long may have gone through at its begin.
        let began = Instant::now();
        match timeout(ANSWER_LIMIT, turn(&api, &mut election, began)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error = told(&error),
                lease = NAME,
                "cannot take part in the election of who writes status"
            ),
            Err(_) => {
                tracing::warn!(lease = NAME, "the API server does not answer; who writes status is not known")
            }
        }
        let now = election.leads(Instant::now());
        leads.send_if_modified(|last| {
            let changed = *last != now;
            if changed {
                tracing::info!(
                    leads = now,
                    "this controller {} status",
                    if now { "writes" } else { "no longer writes" }
                );
            }
            *last = now;
            changed
        });
        sleep(PERIOD + Duration::from_millis(random() % (PERIOD.as_millis() as u64 / 2))).await;
    }
}

async fn turn(api: &Api<Lease>, election: &mut Election, began: Instant) -> Result<(), kube::Error> {
    let mut lease = api.get_opt(NAME).await?;
    let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
    // A lease without a spec is there, and free.
    let looked = lease.as_ref().map(|_| spec.clone().unwrap_or_default());
    let decided = election.decide(looked.as_ref(), began);
    if decided == Move::Wait {
        return Ok(());
    }
    let made = election.made(decided, spec.as_ref(), Timestamp::now());
    let written = match lease.as_mut() {
        None => {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(made) }).await
        }
        Some(lease) => {
            lease.spec = Some(made);
            // Its resourceVersion goes along: of two that take it at once one is refused.
            api.replace(NAME, &PostParams::default(), lease).await
        }
    };
    match written {
        Ok(_) => election.wrote(began),
        // Another was faster; the next look tells.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::{api::coordination::v1::LeaseSpec, jiff::Timestamp};
    use tokio::time::Instant;

    use super::{DEADLINE, DURATION, Election, Move};

    fn of(election: &Election, made: Move, last: Option<&LeaseSpec>, second: i64) -> LeaseSpec {
        election.made(made, last, Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_silent_holder_loses_it_after_the_duration_by_the_clock_of_who_looks() {
        let (mut a, mut b) = (Election::new("a".to_owned()), Election::new("b".to_owned()));
        let start = Instant::now();
        assert_eq!(a.decide(None, start), Move::Create);
        let first = of(&a, Move::Create, None, 1);
        a.wrote(start);
        assert!(a.leads(start) && !b.leads(start));
        assert_eq!(b.decide(Some(&first), start), Move::Wait);
        let renewed = of(&a, Move::Renew, Some(&first), 5);
        assert_eq!(renewed.acquire_time, first.acquire_time);
        // Seen late, as if a had just renewed: the wait begins anew.
        let later = start + DURATION - Duration::from_secs(1);
        assert_eq!(b.decide(Some(&renewed), later), Move::Wait);
        assert_eq!(b.decide(Some(&renewed), later + DURATION - Duration::from_secs(1)), Move::Wait);
        assert_eq!(b.decide(Some(&renewed), later + DURATION), Move::Take);
        let taken = of(&b, Move::Take, Some(&renewed), 50);
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
        a.wrote(later + DURATION);
        assert_eq!(a.decide(Some(&taken), later + DURATION), Move::Wait);
        assert!(!a.leads(later + DURATION), "who sees another hold it stops at once");
    }

    #[test]
    fn who_cannot_renew_stops_before_another_begins() {
        let mut a = Election::new("a".to_owned());
        let start = Instant::now();
        a.wrote(start);
        assert!(a.leads(start + DEADLINE - Duration::from_secs(1)));
        assert!(!a.leads(start + DEADLINE));
        assert!(DEADLINE < DURATION);
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut a = Election::new("a".to_owned());
        assert_eq!(a.decide(Some(&LeaseSpec::default()), Instant::now()), Move::Take);
    }
}
