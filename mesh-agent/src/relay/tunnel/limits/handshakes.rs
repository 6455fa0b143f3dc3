//! TLS handshakes under way, counted over all workers, and how fast one address begins them.
//!
//! A handshake costs before anybody has proven anything, so the two directions have budgets of
//! their own, and of the inbound one only a part is for addresses at which discovery knows no
//! enrolled pod: whoever can send packets to a node can fill that part and no more.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pace::{Pace, Turns};

/// Handshakes under way at once in one direction.
const PER_DIRECTION: usize = 1024;
/// Those of all strangers together.
const OF_STRANGERS: usize = 256;
/// Of one local pod in one direction: what strangers may have leaves it some.
const PER_POD: usize = 512;
/// Of one peer address at which discovery knows an enrolled pod.
const PER_PEER: usize = 256;
/// Of one peer address that nobody knows.
const PER_STRANGER: usize = 64;
/// How fast a peer address begins them at which discovery knows an enrolled pod.
const PEER_PACE: Pace = Pace { burst: 256, each: Duration::from_millis(4) };
/// The same of an address that nobody knows: one processor's hundredth.
const STRANGER_PACE: Pace = Pace { burst: 32, each: Duration::from_millis(32) };

/// Who connects, when it is the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its address.
    pub address: IpAddr,
    /// Discovery knows an enrolled pod there.
    pub known: bool,
}

/// Why a handshake may not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} TLS handshakes of {of} are under way already")]
pub(crate) struct TooManyHandshakes {
    count: usize,
    of: String,
}

/// What the workers share.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<Under>);

#[derive(Debug, Default)]
struct Under {
    outbound: Direction,
    inbound: Direction,
    strangers: usize,
    peers: HashMap<IpAddr, usize>,
    turns: Turns,
}

#[derive(Debug, Default)]
struct Direction {
    all: usize,
    pods: HashMap<Arc<str>, usize>,
}

/// Handshakes under way; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handshakes(Arc<Budget>);

impl Handshakes {
    /// Counts in `budget`.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self(budget)
    }

    /// Begins one of a pod; of a `caller` where it is the other end that connects.
    ///
    /// # Errors
    /// When too many are under way.
    pub(crate) fn begin(
        &self,
        pod: &Arc<str>,
        caller: Option<Caller>,
    ) -> Result<Handshake, TooManyHandshakes> {
        let mut under = self.lock();
        under.check(pod, caller)?;
        let direction = under.direction(caller);
        direction.all += 1;
        *direction.pods.entry(Arc::clone(pod)).or_default() += 1;
        let mut wait = Duration::ZERO;
        if let Some(caller) = caller {
            under.strangers += usize::from(!caller.known);
            *under.peers.entry(caller.address).or_default() += 1;
            let pace = if caller.known { PEER_PACE } else { STRANGER_PACE };
            wait = under.turns.take(caller.address, pace, Instant::now());
        }
        drop(under);
        Ok(Handshake { handshakes: self.clone(), pod: Arc::clone(pod), caller, wait })
    }

    fn lock(&self) -> MutexGuard<'_, Under> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Under {
    fn direction(&mut self, caller: Option<Caller>) -> &mut Direction {
        if caller.is_some() { &mut self.inbound } else { &mut self.outbound }
    }

    fn check(&mut self, pod: &Arc<str>, caller: Option<Caller>) -> Result<(), TooManyHandshakes> {
        let below = |count: usize, limit: usize, of: &dyn Fn() -> String| {
            if count < limit { Ok(()) } else { Err(TooManyHandshakes { count: limit, of: of() }) }
        };
        if let Some(Caller { address, known }) = caller {
            let count = self.peers.get(&address).copied().unwrap_or_default();
            below(count, if known { PER_PEER } else { PER_STRANGER }, &|| format!("peer {address}"))?;
            if !known {
                below(self.strangers, OF_STRANGERS, &|| "addresses that are no enrolled pod's".to_owned())?;
            }
        }
        let direction = self.direction(caller);
        let count = direction.pods.get(pod).copied().unwrap_or_default();
        below(count, PER_POD, &|| format!("pod {pod}"))?;
        below(direction.all, PER_DIRECTION, &|| "this relay".to_owned())
    }
}

/// One handshake under way.
#[derive(Debug)]
pub(crate) struct Handshake {
    handshakes: Handshakes,
    pod: Arc<str>,
    caller: Option<Caller>,
    wait: Duration,
}

impl Handshake {
    /// How long it has to wait for its turn.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut under = self.handshakes.lock();
        let direction = under.direction(self.caller);
        direction.all = direction.all.saturating_sub(1);
        one_less(&mut direction.pods, &self.pod);
        if let Some(caller) = self.caller {
            under.strangers = under.strangers.saturating_sub(usize::from(!caller.known));
            one_less(&mut under.peers, &caller.address);
        }
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Caller, Handshakes, OF_STRANGERS, PER_DIRECTION, PER_PEER, PER_POD, PER_STRANGER};
    use std::net::IpAddr;
    use std::sync::Arc;

    fn caller(last: usize, known: bool) -> Option<Caller> {
        let [high, low] = u16::try_from(last).unwrap().to_be_bytes();
        Some(Caller { address: IpAddr::from([10, 0, high, low]), known })
    }

    #[test]
    fn one_peer_or_pod_leaves_room_for_others() {
        let budget = Arc::new(Budget::default());
        // Two workers count together.
        let handshakes = [Handshakes::new(Arc::clone(&budget)), Handshakes::new(Arc::clone(&budget))];
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut held: Vec<_> =
            (0..PER_PEER).map(|at| handshakes[at % 2].begin(&a, caller(1, true)).unwrap()).collect();
        assert!(handshakes[0].begin(&a, caller(1, true)).is_err());
        held.extend((PER_PEER..PER_POD).map(|at| handshakes[0].begin(&a, caller(at, true)).unwrap()));
        let refused = handshakes[1].begin(&a, caller(2, true)).unwrap_err();
        assert!(refused.to_string().contains("pod a"), "{refused}");
        held.push(handshakes[1].begin(&b, caller(2, true)).unwrap());
        // What the pod itself does is another matter.
        held.push(handshakes[1].begin(&a, None).unwrap());
        drop(held);
        let under = handshakes[0].lock();
        assert_eq!((under.inbound.all, under.outbound.all, under.strangers), (0, 0, 0));
        assert!(under.peers.is_empty() && under.inbound.pods.is_empty() && under.outbound.pods.is_empty());
    }

    #[test]
    fn strangers_take_nothing_from_those_who_are_known() {
        let handshakes = Handshakes::new(Arc::default());
        let pod: Arc<str> = "a".into();
        let one: Vec<_> =
            (0..PER_STRANGER).map(|_| handshakes.begin(&pod, caller(1, false)).unwrap()).collect();
        assert!(handshakes.begin(&pod, caller(1, false)).is_err());
        let others: Vec<_> = (PER_STRANGER..OF_STRANGERS)
            .map(|at| handshakes.begin(&pod, caller(at + 2, false)).unwrap())
            .collect();
        let refused = handshakes.begin(&"b".into(), caller(2, false)).unwrap_err();
        assert!(refused.to_string().contains("no enrolled pod's"), "{refused}");
        let known: Vec<_> =
            (0..PER_POD - OF_STRANGERS).map(|at| handshakes.begin(&pod, caller(at + 999, true))).collect();
        assert!(known.iter().all(Result::is_ok));
        drop((one, others));
    }

    #[test]
    fn what_comes_in_takes_nothing_from_what_goes_out() {
        let handshakes = Handshakes::new(Arc::default());
        let pod = |at: usize| Arc::<str>::from(format!("pod-{}", at / 100));
        let held: Vec<_> =
            (0..PER_DIRECTION).map(|at| handshakes.begin(&pod(at), caller(at, true)).unwrap()).collect();
        assert!(handshakes.begin(&"z".into(), caller(5000, true)).is_err());
        assert!(handshakes.begin(&"z".into(), None).is_ok());
        drop(held);
    }
}
