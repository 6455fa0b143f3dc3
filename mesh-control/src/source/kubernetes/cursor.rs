//! How far one kind has been followed, and so what to ask next.
//!
//! A kind is listed once, as a stream (a watch that begins with every object and says when it has
//! sent the last) or, where the API server has no such thing, page by page. From then on it is
//! watched from the version that was reached: a watch that ends or breaks goes on from there with
//! one request, and only where the API server no longer knows that version is the kind listed again
//! with a second. What was known stays in force until the new list is complete.

use std::time::Duration;

/// The first wait after a failure; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// No wait is longer, but for one that the API server asks for.
const LONGEST: Duration = Duration::from_secs(10);
/// What the API server asks for is honoured up to this.
const ASKED_LIMIT: Duration = Duration::from_secs(60);
/// A watch that ends sooner than this and brought nothing is a failure: asking again at once would
/// be asking all the time.
const TOO_SHORT: Duration = Duration::from_secs(5);

/// What to ask the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Every object as a stream, and changes from then on.
    Stream,
    /// A page of the list: the first, or the one that this token leads to.
    Page(Option<String>),
    /// Changes since this version.
    Watch(String),
}

/// How an answer, or the attempt to get one, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The watch came to its announced end after this long.
    Done(Duration),
    /// The API server no longer has the version or the page.
    Expired,
    /// The API server does not stream lists.
    NoStreaming,
    /// It refused, or could not be reached, or the connection broke; it may have said how long to
    /// stay away.
    Failed(Option<Duration>),
}

/// How far a kind has been followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    place: Place,
    failures: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Place {
    /// Nothing of a list is there.
    #[default]
    Start,
    /// The list has come to this page.
    Paging(String),
    /// Everything up to this version is known.
    At(String),
}

impl Cursor {
    /// What to ask now.
    pub(super) fn ask(&self, streaming: bool) -> Ask {
        match &self.place {
            Place::Start if streaming => Ask::Stream,
            Place::Start => Ask::Page(None),
            Place::Paging(token) => Ask::Page(Some(token.clone())),
            Place::At(version) => Ask::Watch(version.clone()),
        }
    }

    /// A page came, with the token of the next or, if it is the last, the version of the list.
    pub(super) fn page(&mut self, next: Option<String>, version: String) {
        self.failures = 0;
        self.place = match next {
            Some(token) => Place::Paging(token),
            None => Place::At(version),
        };
    }

    /// Every object was sent, as of this version.
    pub(super) fn listed(&mut self, version: String) {
        self.failures = 0;
        self.place = Place::At(version);
    }

    /// An event or a bookmark of this version came. Within a list it says nothing: objects come in
    /// no order there.
    pub(super) fn reached(&mut self, version: String) {
        if matches!(self.place, Place::At(_)) {
            self.failures = 0;
            self.place = Place::At(version);
        }
    }

    /// The API server was away. One that has begun anew has forgotten what was before: that is found out
    /// with one request and mended with a second where lists are streamed. Where they are not, to ask
    /// first would make three.
    pub(super) fn away(&mut self, streaming: bool) {
        if !streaming {
            self.place = Place::Start;
        }
    }

    /// How many times in a row it did not come further.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// An answer ended: how long to wait before the next request. `random` is any number.
    pub(super) fn ended(&mut self, end: &End, random: u64) -> Duration {
        let asked = match end {
            End::NoStreaming => return Duration::ZERO,
            End::Done(lasted) if matches!(self.place, Place::At(_)) && *lasted >= TOO_SHORT => {
                return Duration::ZERO;
            }
            End::Expired => {
                self.place = Place::Start;
                None
            }
            End::Done(_) => None,
            End::Failed(asked) => *asked,
        };
        self.failures = self.failures.saturating_add(1);
        if *end == End::Expired && self.failures == 1 {
            return Duration::ZERO;
        }
        let own = wait(self.failures, random);
        asked.map_or(own, |asked| asked.min(ASKED_LIMIT) + own)
    }
}

/// The wait after so many failures in a row, between half of it and all of it: the watches of every
/// kind and of every replica break together and shall not come back together.
pub(crate) fn wait(failures: u32, random: u64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let half = doubled.min(LONGEST) / 2;
    half + half.mul_f64((random % 1024) as f64 / 1023.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Ask, Cursor, End, LONGEST, wait};

    fn at(version: &str) -> Cursor {
        let mut cursor = Cursor::default();
        cursor.listed(version.to_owned());
        cursor
    }

    #[test]
    fn a_broken_watch_goes_on_from_where_it_was() {
        let mut cursor = at("5");
        cursor.reached("7".to_owned());
        assert!(cursor.ended(&End::Failed(None), 0) > Duration::ZERO);
        assert_eq!(cursor.ask(true), Ask::Watch("7".to_owned()));
        assert_eq!(cursor.ended(&End::Done(Duration::from_secs(240)), 0), Duration::ZERO);
        assert_eq!(cursor.ask(true), Ask::Watch("7".to_owned()));
    }

    /// Back after a time away: one request that finds the version gone, one that lists. No more.
    #[test]
    fn coming_back_costs_two_requests_at_most() {
        let mut cursor = at("5");
        assert_eq!(cursor.ask(true), Ask::Watch("5".to_owned()));
        assert_eq!(cursor.ended(&End::Expired, 9), Duration::ZERO);
        assert_eq!(cursor.ask(true), Ask::Stream);
        cursor.reached("1".to_owned());
        assert_eq!(cursor.ask(true), Ask::Stream, "an object of the list says nothing of the list");
        cursor.listed("9".to_owned());
        assert_eq!(cursor.ask(true), Ask::Watch("9".to_owned()));
    }

    /// A list and a watch, whether or not the version is gone.
    #[test]
    fn coming_back_costs_two_requests_without_streaming_too() {
        let mut cursor = at("5");
        cursor.away(true);
        assert_eq!(cursor.ask(true), Ask::Watch("5".to_owned()));
        cursor.away(false);
        assert_eq!(cursor.ask(false), Ask::Page(None));
        cursor.page(None, "9".to_owned());
        assert_eq!(cursor.ask(false), Ask::Watch("9".to_owned()));
    }

    #[test]
    fn an_api_server_that_forgets_every_version_is_not_stormed() {
        let mut cursor = at("5");
        cursor.ended(&End::Expired, 9);
        assert!(cursor.ended(&End::Expired, 9) >= Duration::from_millis(250));
    }

    #[test]
    fn a_watch_that_ends_at_once_and_brings_nothing_is_not_asked_for_at_once() {
        assert!(at("5").ended(&End::Done(Duration::ZERO), 9) > Duration::ZERO);
    }

    #[test]
    fn without_streaming_pages_come_one_after_the_other() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.ended(&End::NoStreaming, 9), Duration::ZERO);
        assert_eq!(cursor.ask(false), Ask::Page(None));
        cursor.page(Some("t".to_owned()), "5".to_owned());
        assert_eq!(cursor.ask(false), Ask::Page(Some("t".to_owned())));
        cursor.page(None, "6".to_owned());
        assert_eq!(cursor.ask(false), Ask::Watch("6".to_owned()));
    }

    #[test]
    fn what_the_api_server_asks_for_is_kept_to_and_bounded() {
        assert!(at("5").ended(&End::Failed(Some(Duration::from_secs(3))), 0) >= Duration::from_secs(3));
        assert!(at("5").ended(&End::Failed(Some(Duration::MAX)), 0) < Duration::from_secs(71));
    }

    proptest! {
        #[test]
        fn waits_grow_to_a_bound_and_spread(failures in 0_u32..100, random: u64) {
            let waited = wait(failures, random);
            prop_assert!(waited <= LONGEST && waited >= Duration::from_millis(125));
            prop_assert!(waited >= wait(failures.saturating_sub(1), random));
            prop_assert!(wait(failures, 1023) >= wait(failures, 0) * 2);
        }
    }
}
