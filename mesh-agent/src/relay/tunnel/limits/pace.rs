//! How fast one address may begin handshakes: some at once, and then one after the other.
//!
//! A handshake costs relay about half a millisecond of a processor before it knows who asks, on the thread that
//! carries others' bytes. Who begins more than its pace waits its turn, which an honest burst
//! hardly feels; nobody is refused for it, and who waits counts as under way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses remembered before the first look for those that are idle again.
const FEW: usize = 1024;

/// So many at once, then one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) burst: u32,
    pub(super) each: Duration,
}

/// Whose turn is when.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When all that an address has begun would be done, one each.
    done: HashMap<IpAddr, Instant>,
    look_at: usize,
}

impl Turns {
    /// Takes a turn; gives how long it is to wait for.
    pub(super) fn take(&mut self, address: IpAddr, pace: Pace, now: Instant) -> Duration {
        if self.done.len() >= self.look_at.max(FEW) {
            self.done.retain(|_, done| *done > now);
            self.look_at = self.done.len() * 2;
        }
        let done = self.done.entry(address).or_insert(now);
        let begin = (*done).max(now);
        *done = begin + pace.each;
        begin.saturating_duration_since(now + pace.each * pace.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::{FEW, Pace, Turns};
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    const PACE: Pace = Pace { burst: 4, each: Duration::from_millis(100) };

    #[test]
    fn a_burst_is_free_and_then_turns_are_waited_for() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let waits: Vec<u128> = (0..7).map(|_| turns.take(one, PACE, now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200]);
        assert_eq!(turns.take(other, PACE, now), Duration::ZERO);
        let later = now + Duration::from_millis(350);
        assert_eq!(turns.take(one, PACE, later).as_millis(), 0, "what waited has had its turn");
        let rested = now + Duration::from_secs(10);
        let waits: Vec<u128> = (0..6).map(|_| turns.take(one, PACE, rested).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 100]);
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        for at in 0..u32::try_from(FEW).unwrap() * 4 {
            turns.take(IpAddr::from(at.to_be_bytes()), PACE, start + PACE.each * at);
        }
        assert!(turns.done.len() <= FEW, "{}", turns.done.len());
    }
}
