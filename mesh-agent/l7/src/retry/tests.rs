use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Attempted, Next, Outcome, Retry};

const BACKOFF: Duration = Duration::from_millis(100);

fn outcome() -> impl Strategy<Value = Outcome> {
    let status = select(vec![200u16, 404, 500, 502, 503, 504]);
    prop_oneof![
        3 => status.prop_map(|status| Outcome::Status(StatusCode::from_u16(status).unwrap())),
        1 => Just(Outcome::NotSent),
        1 => Just(Outcome::Broken),
        1 => Just(Outcome::TimedOut),
    ]
}

proptest! {
    /// Row by row of the module's table.
    #[test]
    fn it_is_the_table(
        codes in prop::collection::vec(select(vec![500u16, 503, 504]), 0..3),
        attempts in 0..4u32,
        retries in 0..5u32,
        outcome in outcome(),
        method in select(vec![Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::POST, Method::PATCH]),
        replayable: bool,
        left in prop::option::of(0..2_000u64),
        random: u64,
    ) {
        let retry = Retry::new(&codes, Some(attempts), Some(BACKOFF)).unwrap();
        let now = Instant::now();
        let deadline = left.map(|left| now + Duration::from_millis(left));
        let next = retry.next(&Attempted { retries, outcome, method: &method, replayable, now, deadline }, random);
        let idempotent = method != Method::POST && method != Method::PATCH;
        let wanted = match outcome {
            Outcome::Status(status) => codes.contains(&status.as_u16()),
            Outcome::NotSent => true,
            Outcome::Broken | Outcome::TimedOut => idempotent,
        };
        let again = wanted && replayable && retries < attempts;
        prop_assert_eq!(next != Next::GiveUp, again);
        if let Next::After(pause) = next {
            prop_assert!(pause >= BACKOFF && pause <= BACKOFF * 10);
            prop_assert!(deadline.is_none_or(|deadline| now + pause < deadline));
        }
        if next == Next::OutOfTime {
            prop_assert!(left.unwrap() <= 1000);
        }
        if again && left.is_some_and(|left| left <= 100) {
            prop_assert_eq!(next, Next::OutOfTime);
        }
    }

    #[test]
    fn pauses_grow_to_a_limit(retries in 0..200u32, random: u64) {
        let retry = Retry::new(&[], Some(u32::MAX), Some(BACKOFF)).unwrap();
        let most = match retries {
            0 => BACKOFF * 3 / 2,
            1 => BACKOFF * 2,
            2 => BACKOFF * 4,
            3 => BACKOFF * 8,
            _ => BACKOFF * 10,
        };
        let pause = retry.pause(retries, random);
        prop_assert!(pause >= BACKOFF && pause <= most, "{:?}", pause);
        prop_assert_eq!(retry.pause(retries, 0), BACKOFF);
        prop_assert!(retry.pause(retries, u64::MAX) > most - Duration::from_micros(1));
    }
}

#[test]
fn defaults_and_bounds() {
    let retry = Retry::new(&[], None, None).unwrap();
    assert_eq!(retry.attempts(), 1);
    assert_eq!(retry.pause(0, 0), Duration::from_millis(25));
    for code in [0, 200, 399, 600] {
        assert_eq!(
            Retry::new(&[500, code], None, None).unwrap_err().to_string(),
            format!("{code} is no code to retry: 400 to 599")
        );
    }
    assert!(Retry::new(&[400, 429, 500, 599], None, None).is_ok());
    // A pause past the end of time, with and without a deadline.
    let forever = Retry::new(&[], None, Some(Duration::MAX)).unwrap();
    let now = Instant::now();
    let attempted = Attempted {
        retries: 0,
        outcome: Outcome::NotSent,
        method: &Method::GET,
        replayable: true,
        now,
        deadline: None,
    };
    assert_eq!(forever.next(&attempted, 7), Next::After(Duration::MAX));
    let bounded = Attempted { deadline: Some(now + BACKOFF), ..attempted };
    assert_eq!(forever.next(&bounded, 7), Next::OutOfTime);
}
