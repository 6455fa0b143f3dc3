//! The end of wire: not before its relay's, whose open connections still need it, and not for longer than it may.
//!
//! Two ways lead here. Told to end, wire goes on as before until then. Asked to give way to another wire
//! ([`super::takeover`]), it lets go of the kernel at once and only gives its relay sockets from then on; should the
//! other end without this pair having been told to, this one ends too, to be started anew.

use std::path::Path;
use std::time::{Duration, Instant};

use super::outbox::Outbox;
use super::pins;
use super::signal::{Inbox, Signal};
use crate::handover::{Answer, FromWire, ToWire, VERSION};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long nobody may hold the pins until this wire is needed again. One that is started again takes
/// less, unless it fails over and over.
const UNHELD_FOR: Duration = Duration::from_secs(15);

/// Whether wire was told to end, and how long its relay may still need it.
#[derive(Debug, Default)]
pub(super) struct Ending(Option<Instant>);

impl Ending {
    /// wire was told to end; once more means at once.
    pub(super) fn told(&mut self, linger: Duration) {
        let now = Instant::now();
        self.0 = Some(if self.0.is_some() { now } else { now + linger });
    }

    /// Whether it has been told.
    pub(super) fn is_told(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is over, with or without a relay.
    pub(super) fn is_over(&self, relay: bool) -> bool {
        self.0.is_some_and(|until| !relay || until <= Instant::now())
    }
}

/// Why wire ends after it has given way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It was told to.
    Told,
    /// Nobody is in its place any more.
    Needed,
}

/// Stays for relay's sake. `linger` is how long after wire was told to end.
pub(super) fn stay(
    inbox: &Inbox,
    outbox: &Outbox,
    pin_root: &Path,
    mut ending: Ending,
    linger: Duration,
) -> Left {
    outbox.say(FromWire::Leaving);
    let mut unheld: Option<Instant> = None;
    while !ending.is_over(outbox.is_connected()) {
        match inbox.within(LOOK_EVERY) {
            Some(Signal::Relay(session, message)) => hear(outbox, session, &message),
            Some(Signal::End) => ending.told(linger),
            // Who asks this one now is told no by letting go of its sender.
            Some(Signal::GiveWay(_) | Signal::Look | Signal::Agent(_)) | None => {}
        }
        unheld = pins::is_unheld(pin_root).then(|| unheld.unwrap_or_else(Instant::now));
        if !ending.is_told() && unheld.is_some_and(|since| since.elapsed() >= UNHELD_FOR) {
            return Left::Needed;
        }
    }
    Left::Told
}

/// What relay has put into the kernel is the other wire's to put there; what it must be answered, it is.
fn hear(outbox: &Outbox, session: u64, message: &ToWire) {
    match *message {
        ToWire::Hello { .. } => {
            let hello = FromWire::Hello { version: VERSION, adopted: true, succeeds: false };
            outbox.greet(session, hello);
            outbox.say(FromWire::Leaving);
        }
        ToWire::Commit { sequence } => outbox.say(FromWire::Applied { sequence }),
        ToWire::Ask { id, .. } => {
            let why = "this wire has given way to another one on this node; ask the agent's newer pod";
            outbox.say(FromWire::Answer { id, answer: Answer::Failed(why.to_owned()) });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Outbox;
    use super::super::signal::{Signal, signals};
    use super::{Ending, Left, stay};
    use crate::handover::{Answer, FromWire, Question, ToWire, VERSION};
    use std::time::{Duration, Instant};

    #[test]
    fn it_ends_with_its_relay_or_when_its_time_is_over_and_at_once_when_told_twice() {
        let mut ending = Ending::default();
        assert!(!ending.is_over(false), "nobody told it");
        ending.told(Duration::from_secs(60));
        assert!(!ending.is_over(true));
        assert!(ending.is_over(false), "relay is gone");
        ending.told(Duration::from_secs(60));
        assert!(ending.is_over(true));
        let mut ending = Ending::default();
        ending.told(Duration::ZERO);
        assert!(ending.is_over(true));
    }

    #[test]
    fn relay_is_answered_until_it_ends() {
        let (sender, _, inbox) = signals();
        let outbox = Outbox::default();
        let session = outbox.open();
        let directory = tempfile::tempdir().unwrap();
        let hello = ToWire::Hello { version: VERSION };
        for message in [
            hello,
            ToWire::Synced,
            ToWire::Commit { sequence: 3 },
            ToWire::Ask { id: 7, question: Question::Check },
        ] {
            sender.send(Signal::Relay(session, message)).unwrap();
        }
        let stays = {
            let (outbox, directory) = (outbox.clone(), directory.path().to_owned());
            let linger = Duration::from_secs(60);
            std::thread::spawn(move || stay(&inbox, &outbox, &directory, Ending::default(), linger))
        };
        assert!(matches!(outbox.next(session), Some(FromWire::Hello { version: VERSION, .. })));
        assert_eq!(outbox.next(session), Some(FromWire::Leaving));
        assert_eq!(outbox.next(session), Some(FromWire::Applied { sequence: 3 }));
        let Some(FromWire::Answer { id: 7, answer: Answer::Failed(why) }) = outbox.next(session) else {
            panic!()
        };
        assert!(why.contains("newer pod"), "{why}");
        sender.send(Signal::End).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!stays.is_finished(), "relay is there");
        outbox.close(session);
        sender.send(Signal::Look).unwrap();
        let begun = Instant::now();
        assert_eq!(stays.join().unwrap(), Left::Told);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
