//! How often the same is told: pure but for the time that it is given.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use super::news::News;
use crate::objects::ObjectRef;

/// What happened within this is one matter.
const WINDOW: Duration = Duration::from_secs(600);
/// Different events about one object within that, at most.
const PER_OBJECT: usize = 10;
/// That the same happened again is told once in this.
const AGAIN: Duration = Duration::from_secs(60);
/// Different events within the window about everything, at most.
const ALL: usize = 4096;

/// What was told of one object, by reason and note.
type OfObject = BTreeMap<(&'static str, String), Told>;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By object and its UID.
    told: BTreeMap<(ObjectRef, String), OfObject>,
    numbers: RandomState,
    next: u64,
}

#[derive(Debug)]
struct Told {
    /// Which it is among all events.
    number: u64,
    count: u32,
    happened: Instant,
    told: Instant,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// A new event, with this number.
    First(u64),
    /// The event with this number happened so often by now.
    Again(u64, u32),
    /// Nothing.
    Leave,
}

impl Ledger {
    /// Takes note of something that happened now.
    pub(super) fn decide(&mut self, object: &ObjectRef, uid: &str, news: &News, now: Instant) -> Decision {
        for events in self.told.values_mut() {
            events.retain(|_, told| now.saturating_duration_since(told.happened) < WINDOW);
        }
        self.told.retain(|_, events| !events.is_empty());
        let all: usize = self.told.values().map(BTreeMap::len).sum();
        let events = self.told.entry((object.clone(), uid.to_owned())).or_default();
        let key = (news.reason, news.note.clone());
        if let Some(told) = events.get_mut(&key) {
            told.count = told.count.saturating_add(1);
            told.happened = now;
            if now.saturating_duration_since(told.told) < AGAIN {
                return Decision::Leave;
            }
            told.told = now;
            return Decision::Again(told.number, told.count);
        }
        if events.len() >= PER_OBJECT || all >= ALL {
            return Decision::Leave;
        }
        self.next += 1;
        // Another controller, or this one before, has told others.
        let number = self.numbers.hash_one((self.next, object.to_string(), news.reason));
        events.insert(key, Told { number, count: 1, happened: now, told: now });
        Decision::First(number)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, Instant},
    };

    use proptest::prelude::*;

    use super::{AGAIN, ALL, Decision, Ledger, PER_OBJECT, WINDOW};
    use crate::{
        objects::{ObjectName, ObjectRef},
        status::events::{News, Weight},
    };

    fn news(note: usize) -> News {
        News { weight: Weight::Warning, action: "Accept", reason: "NotAccepted", note: note.to_string() }
    }

    fn object(index: usize) -> ObjectRef {
        ObjectRef::mesh("AccessPolicy", ObjectName::new("shop", index.to_string()))
    }

    #[test]
    fn the_same_again_is_counted_and_told_now_and_then() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let Decision::First(number) = ledger.decide(&object(0), "u", &news(0), now) else { panic!() };
        assert_eq!(ledger.decide(&object(0), "u", &news(0), now), Decision::Leave);
        assert_eq!(ledger.decide(&object(0), "u", &news(0), now + AGAIN), Decision::Again(number, 3));
        assert_eq!(ledger.decide(&object(0), "u", &news(0), now + AGAIN), Decision::Leave);
        let later = ledger.decide(&object(0), "u", &news(0), now + AGAIN + WINDOW);
        assert!(matches!(later, Decision::First(other) if other != number), "that is another matter");
        let other = ledger.decide(&object(0), "another of that name", &news(0), now);
        assert!(matches!(other, Decision::First(_)));
    }

    #[test]
    fn all_objects_together_are_bounded() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let first = (0..ALL + 100)
            .filter(|index| matches!(ledger.decide(&object(*index), "u", &news(0), now), Decision::First(_)));
        assert_eq!(first.count(), ALL);
    }

    proptest! {
        /// However often and however variously: in a window an object has at most so many events, and
        /// each is told again at most once in a minute.
        #[test]
        fn an_object_has_few_events(happened in prop::collection::vec((0..30_u64, 0..3_usize, 0..20_usize), 0..300)) {
            let (mut ledger, began) = (Ledger::default(), Instant::now());
            let mut now = began;
            let mut first: BTreeMap<usize, Vec<Instant>> = BTreeMap::new();
            let mut again: BTreeMap<u64, Instant> = BTreeMap::new();
            for (seconds, index, note) in happened {
                now += Duration::from_secs(seconds);
                match ledger.decide(&object(index), "u", &news(note), now) {
                    Decision::Leave => {}
                    Decision::First(number) => {
                        let times = first.entry(index).or_default();
                        times.push(now);
                        let within = times.iter().filter(|time| now - **time < WINDOW).count();
                        prop_assert!(within <= PER_OBJECT);
                        prop_assert_eq!(again.insert(number, now), None, "numbers are not used twice");
                    }
                    Decision::Again(number, count) => {
                        prop_assert!(count >= 2 && now - again[&number] >= AGAIN);
                        again.insert(number, now);
                    }
                }
            }
        }
    }
}
