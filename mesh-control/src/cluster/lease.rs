//! Of several controllers one leads: the one that holds the `Lease` (`coordination.k8s.io/v1`) named
//! `mesh-control`. It signs, serves agents and writes; the others follow the API server as well, and
//! stand by.
//!
//! Clocks of different machines are never compared: a holder is given up when its lease has not
//! changed for the lease's duration, by the clock of the one that looks. Who cannot renew it stops
//! writing before that. It goes on serving agents until it sees that another leads: while the API
//! server is away nobody can, and agents are better off with it than with nobody.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};

use crate::source::{random, told};

/// The name of the lease.
const NAME: &str = "mesh-control";
/// A holder that is silent for this long has lost it.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops writing: before anybody else begins.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked at, and up to half of that later.
const PERIOD: Duration = Duration::from_secs(2);
/// A request must be answered within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// What this controller is among its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Another leads, or it is not known yet who does.
    Standby,
    /// This one: it signs and serves.
    Leader,
    /// It led, and then another did, of this name. There is no way back.
    Deposed(String),
}

/// What comes of an election.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What this controller is.
    pub(super) standing: watch::Sender<Standing>,
    /// Whether it leads and could say so lately: only then it may write.
    pub(super) writes: watch::Sender<bool>,
}

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
    /// It was ours once.
    led: bool,
    /// Who had it after us.
    successor: Option<String>,
}

impl Election {
    fn new(me: String) -> Self {
        Self { me, seen: None, held: None, led: false, successor: None }
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
        if self.led {
            self.successor = Some(holder.to_owned());
            return Move::Wait;
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

    /// A look failed. What was not seen was not silence: when the API server was away, whoever led is
    /// given its time to say that it still does.
    fn saw_nothing(&mut self) {
        self.seen = None;
    }

    /// A write that was begun at this time went through.
    fn wrote(&mut self, began: Instant) {
        self.held = Some(began);
        self.led = true;
    }

    /// Whether this controller may write.
    fn writes(&self, now: Instant) -> bool {
        self.held.is_some_and(|held| now.duration_since(held) < DEADLINE)
    }

    fn standing(&self) -> Standing {
        match (&self.successor, self.led) {
            (Some(successor), _) => Standing::Deposed(successor.clone()),
            (None, true) => Standing::Leader,
            (None, false) => Standing::Standby,
        }
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

/// Takes part in the election of a namespace under the name `me`, once this controller has `built`
/// something to serve. When it is told to stop it gives back what it holds, so that nobody has to wait
/// for its silence. Returns then, or when it has been deposed.
pub(super) async fn elect(
    client: Client,
    namespace: String,
    me: String,
    mut built: watch::Receiver<u64>,
    outcome: Outcome,
    mut stop: oneshot::Receiver<()>,
) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let mut election = Election::new(me);
    tokio::select! {
        built = built.wait_for(|built| *built > 0) => if built.is_err() { return },
        _ = &mut stop => return,
    }
    let mut in_trouble = false;
    loop {
        // A request that goes on for long may have gone through at its begin.
        let began = Instant::now();
        let trouble = match timeout(ANSWER_LIMIT, turn(&api, &mut election, began)).await {
            Ok(Ok(())) => None,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Some(format!(
                "{}; check the Role of the controller (get and update leases {NAME}, create leases)",
                status.message
            )),
            Ok(Err(error)) => Some(told(&error)),
            Err(_) => Some("the API server does not answer".to_owned()),
        };
        // Once, for as long as it goes on.
        if let Some(error) = trouble.as_ref().filter(|_| !in_trouble) {
            tracing::warn!(
                error,
                lease = NAME,
                "cannot take part in the election of the controller that leads"
            );
        }
        in_trouble = trouble.is_some();
        if in_trouble {
            election.saw_nothing();
        }
        tell(&election, &outcome);
        if election.successor.is_some() {
            return;
        }
        let pause = PERIOD + Duration::from_millis(random() % (PERIOD.as_millis() as u64 / 2));
        tokio::select! {
            () = sleep(pause) => {}
            _ = &mut stop => break,
        }
    }
    if election.led {
        match timeout(ANSWER_LIMIT, give_back(&api, &election.me)).await {
            Ok(Ok(())) => tracing::info!(lease = NAME, "given back"),
            Ok(Err(error)) => tracing::warn!(error = told(&error), lease = NAME, "not given back"),
            Err(_) => tracing::warn!(lease = NAME, "not given back: the API server does not answer"),
        }
    }
}

fn tell(election: &Election, outcome: &Outcome) {
    let standing = election.standing();
    outcome.standing.send_if_modified(|last| {
        let changed = *last != standing;
        if changed && standing == Standing::Leader {
            tracing::info!(name = election.me, "this controller leads");
        }
        *last = standing;
        changed
    });
    let writes = election.writes(Instant::now());
    outcome.writes.send_if_modified(|last| {
        let changed = *last != writes;
        if changed && !writes {
            tracing::warn!("the lease cannot be renewed: this controller writes nothing until it can");
        }
        *last = writes;
        changed
    });
}

/// Leaves the lease to whoever comes, if it is still of `me`.
async fn give_back(api: &Api<Lease>, me: &str) -> Result<(), kube::Error> {
    let Some(mut lease) = api.get_opt(NAME).await? else { return Ok(()) };
    let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(me)) else {
        return Ok(());
    };
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    api.replace(NAME, &PostParams::default(), &lease).await.map(drop)
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

    use super::{DEADLINE, DURATION, Election, Move, Standing};

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
        assert!(a.writes(start) && !b.writes(start));
        assert_eq!((a.standing(), b.standing()), (Standing::Leader, Standing::Standby));
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
        assert!(!a.writes(later + DURATION), "who sees another hold it stops at once");
        assert_eq!(a.standing(), Standing::Deposed("b".to_owned()));
    }

    #[test]
    fn who_cannot_renew_stops_before_another_begins() {
        let mut a = Election::new("a".to_owned());
        let start = Instant::now();
        a.wrote(start);
        assert!(a.writes(start + DEADLINE - Duration::from_secs(1)));
        assert!(!a.writes(start + DEADLINE));
        assert_eq!(a.standing(), Standing::Leader, "nobody else can be seen to lead");
        assert!(DEADLINE < DURATION);
    }

    #[test]
    fn an_api_server_that_was_away_is_no_silence_of_the_holder() {
        let (mut a, mut b) = (Election::new("a".to_owned()), Election::new("b".to_owned()));
        let start = Instant::now();
        a.wrote(start);
        let lease = of(&a, Move::Create, None, 1);
        assert_eq!(b.decide(Some(&lease), start), Move::Wait);
        b.saw_nothing();
        let back = start + DURATION * 3;
        assert_eq!(b.decide(Some(&lease), back), Move::Wait);
        assert_eq!(a.decide(Some(&lease), back), Move::Renew);
        assert_eq!(b.decide(Some(&lease), back + DURATION), Move::Take);
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut a = Election::new("a".to_owned());
        assert_eq!(a.decide(Some(&LeaseSpec::default()), Instant::now()), Move::Take);
    }
}
