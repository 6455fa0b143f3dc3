//! What waits to be told to relay.
//!
//! Bounded everywhere: of kernel events the oldest are dropped and counted, of counts and samples
//! only the newest are kept, and a relay that does not read what it must know is let go; the
//! next one is told everything anew.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::handover::{Counts, Ended, FlowEvent, FlowSample, FromWire};

/// Kernel events kept for a relay that is slow or away.
const EVENTS: usize = 16_384;
/// Events in one message, as the exchange says.
const EVENTS_A_MESSAGE: usize = 256;
/// Answers and reports that may wait.
const SAID: usize = 8192;
/// Samples in one message.
const SAMPLES_A_MESSAGE: usize = 1024;

#[derive(Debug, Default)]
struct Queue {
    session: u64,
    connected: bool,
    /// The first message was queued; nothing else goes before it.
    greeted: bool,
    said: VecDeque<FromWire>,
    ended: VecDeque<Ended>,
    events: VecDeque<FlowEvent>,
    counts: Option<Counts>,
    samples: VecDeque<FlowSample>,
    dropped: u64,
}

/// The queue, shared by every thread that has something to tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox(Arc<(Mutex<Queue>, Condvar)>);

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.1.notify_all();
    }

    /// A relay connected: what was said to the last one is void. Gives the session's number.
    pub(super) fn open(&self) -> u64 {
        let mut queue = self.queue();
        queue.session += 1;
        queue.connected = true;
        queue.greeted = false;
        queue.said.clear();
        queue.ended.clear();
        queue.samples.clear();
        let session = queue.session;
        drop(queue);
        self.changed();
        session
    }

    /// The relay of a session is gone.
    pub(super) fn close(&self, session: u64) {
        let mut queue = self.queue();
        if queue.session == session {
            queue.connected = false;
        }
        drop(queue);
        self.changed();
    }

    /// Whether a relay is connected and has been greeted.
    pub(super) fn is_connected(&self) -> bool {
        let queue = self.queue();
        queue.connected && queue.greeted
    }

    /// Says the first message of a session, unless that is over.
    pub(super) fn greet(&self, session: u64, message: FromWire) {
        let mut queue = self.queue();
        if queue.session != session {
            return;
        }
        queue.greeted = true;
        queue.said.push_back(message);
        drop(queue);
        self.changed();
    }

    /// Says something that relay must know. Without a relay it is not kept.
    pub(super) fn say(&self, message: FromWire) {
        let mut queue = self.queue();
        if !queue.connected || !queue.greeted {
            return;
        }
        if queue.said.len() >= SAID {
            tracing::error!("relay does not read what it is told; its connection is closed");
            queue.connected = false;
        } else {
            queue.said.push_back(message);
        }
        drop(queue);
        self.changed();
    }

    /// Queues a kernel event; without a relay it waits for the next one.
    pub(super) fn event(&self, event: FlowEvent) {
        let mut queue = self.queue();
        if queue.events.len() >= EVENTS {
            queue.events.pop_front();
            queue.dropped += 1;
        }
        queue.events.push_back(event);
        drop(queue);
        self.changed();
    }

    /// Queues why connections through the tunnel end; what finds no room ends without a reason.
    pub(super) fn ended(&self, ended: impl Iterator<Item = Ended>) {
        let mut queue = self.queue();
        let room = EVENTS.saturating_sub(queue.ended.len());
        queue.ended.extend(ended.take(room));
        drop(queue);
        self.changed();
    }

    /// Events dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    /// The newest counts.
    pub(super) fn counts(&self, counts: Counts) {
        self.queue().counts = Some(counts);
        self.changed();
    }

    /// The newest samples, which replace those not sent yet.
    pub(super) fn samples(&self, samples: Vec<FlowSample>) {
        self.queue().samples = samples.into();
        self.changed();
    }

    /// The next message of a session, waiting for it. None when the session is over.
    pub(super) fn next(&self, session: u64) -> Option<FromWire> {
        let mut queue = self.queue();
        loop {
            if queue.session != session || !queue.connected {
                return None;
            }
            let greeted = queue.greeted;
            if let Some(message) = greeted.then(|| queue.take()).flatten() {
                return Some(message);
            }
            queue = self.0.1.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn take(&mut self) -> Option<FromWire> {
        if let Some(message) = self.said.pop_front() {
            return Some(message);
        }
        if !self.ended.is_empty() {
            let most = self.ended.len().min(EVENTS_A_MESSAGE);
            return Some(FromWire::Ended(self.ended.drain(..most).collect()));
        }
        if !self.events.is_empty() {
            let most = self.events.len().min(EVENTS_A_MESSAGE);
            return Some(FromWire::Events(self.events.drain(..most).collect()));
        }
        if let Some(counts) = self.counts.take() {
            return Some(FromWire::Counts(counts));
        }
        if !self.samples.is_empty() {
            let most = self.samples.len().min(SAMPLES_A_MESSAGE);
            return Some(FromWire::Samples(self.samples.drain(..most).collect()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, Outbox};
    use crate::handover::{FlowEvent, FromWire};
    use mesh_ebpf::abi::Reason;
    use mesh_ebpf::policy::{Direction, SetId};

    fn event(cookie: u64) -> FlowEvent {
        let nowhere = ("0.0.0.0".parse().unwrap(), 0);
        FlowEvent {
            unix_nanoseconds: 0,
            kind: 1,
            origin: 0,
            reason: Reason::None,
            direction: Direction::Egress,
            set: SetId::EMPTY,
            rule: 0,
            uid: 0,
            group: 0,
            peer_uid: 0,
            peer_group: 0,
            protocol: 6,
            source: nowhere,
            destination: nowhere,
            dialled: nowhere,
            cookie,
            duration: 0,
            bytes_sent: 0,
            bytes_received: 0,
            rtt_microseconds: 0,
            retransmits: 0,
        }
    }

    #[test]
    fn the_oldest_events_are_dropped_and_counted_and_the_rest_wait_for_a_relay() {
        let outbox = Outbox::default();
        for cookie in 0..EVENTS as u64 + 3 {
            outbox.event(event(cookie));
        }
        assert_eq!(outbox.dropped(), 3);
        let session = outbox.open();
        let hello = FromWire::Hello { version: 1, adopted: false, succeeds: false };
        outbox.say(FromWire::Applied { sequence: 1 });
        outbox.greet(session, hello.clone());
        assert_eq!(outbox.next(session), Some(hello), "the greeting goes before everything");
        let Some(FromWire::Events(first)) = outbox.next(session) else { panic!() };
        assert_eq!((first[0].cookie, first.len()), (3, 256));
    }

    #[test]
    fn what_is_said_to_one_relay_is_not_told_to_the_next() {
        let outbox = Outbox::default();
        outbox.say(FromWire::Applied { sequence: 1 });
        let first = outbox.open();
        outbox.greet(first, FromWire::Applied { sequence: 2 });
        let second = outbox.open();
        assert_eq!(outbox.next(first), None);
        outbox.greet(first, FromWire::Applied { sequence: 2 });
        outbox.greet(second, FromWire::Applied { sequence: 3 });
        assert_eq!(outbox.next(second), Some(FromWire::Applied { sequence: 3 }));
        outbox.close(second);
        assert_eq!(outbox.next(second), None);
    }
}
