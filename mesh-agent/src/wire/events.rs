//! The kernel's ring of events: read, given names that logs use, queued for relay.
//!
//! The ring is mapped while there is something to read and let go when there has been nothing for
//! a while: all of it counts as this process's memory as long as it is mapped.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, MapError, RingBuf};
use mesh_ebpf::abi::{Event, EventKind, Reason};
use mesh_ebpf::policy::{Direction, SetId};

use super::outbox::Outbox;
use crate::handover::FlowEvent;
use crate::sys::{clock, poll};

/// How long a record may lie in the ring: the kernel wakes the reader for denials only, which costs
/// a busy node less than waking it for every connection.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the ring stays mapped without a record.
const QUIET: Duration = Duration::from_secs(2);
/// How long to wait before the ring is tried again after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Endings that may wait for the kernel's report of them.
const ENDINGS: usize = 65_536;

/// Why the mesh itself ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// [`Reason::PolicyChanged`] or [`Reason::EndpointGone`].
    pub(super) reason: Reason,
    /// The set that denies it.
    pub(super) set: SetId,
    /// Its rule.
    pub(super) rule: u16,
}

/// Connections that the mesh is about to end, by the cookie of the socket it ends. The kernel
/// reports their end as a reset, with the bytes and the time; the reason is added here.
#[derive(Debug, Clone, Default)]
pub(super) struct Endings(Arc<Mutex<HashMap<u64, Ending>>>);

impl Endings {
    /// Announces an ending.
    pub(super) fn announce(&self, cookie: u64, ending: Ending) {
        let mut endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if endings.len() >= ENDINGS {
            // Their reports were lost with the ring.
            endings.clear();
        }
        endings.insert(cookie, ending);
    }

    fn take(&self, cookie: u64) -> Option<Ending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&cookie)
    }
}

/// Why the ring cannot be read now.
#[derive(Debug, thiserror::Error)]
enum RingError {
    /// It cannot be mapped.
    #[error("mapping the ring: {0}")]
    Map(#[from] MapError),
    /// It cannot be waited for.
    #[error("waiting for the ring: {0}")]
    Wait(#[from] io::Error),
}

/// The thread that reads the ring, which has one reader.
#[derive(Debug)]
pub(super) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    /// Starts it.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(ring: Map, endings: Endings, outbox: Outbox) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Err(error) = read(&ring, &endings, &outbox, &stopped) {
                    tracing::error!(%error, "kernel events cannot be read; tried again");
                    thread::sleep(AGAIN);
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it: what it has not read is the next reader's.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the thread that reads kernel events has panicked");
        }
    }
}

/// Waits for records without mapping the ring, and reads until none has come for a while, or it is to stop.
fn read(ring: &Map, endings: &Endings, outbox: &Outbox, stop: &AtomicBool) -> Result<(), RingError> {
    if let Map::RingBuf(data) = ring {
        // A record that wakes nobody is seen when the time is up.
        while !poll::readable(data.fd().as_fd(), LOOK_EVERY)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
    let mut mapped: RingBuf<&MapData> = ring.try_into()?;
    let mut last = Instant::now();
    while last.elapsed() < QUIET && !stop.load(Ordering::Relaxed) {
        poll::readable(mapped.as_fd(), LOOK_EVERY)?;
        let unix_at_zero = clock::unix().wrapping_sub(clock::monotonic());
        let mut some = false;
        while let Some(item) = mapped.next() {
            some = true;
            if let Some(event) = parse(&item) {
                outbox.event(named(&event, unix_at_zero, endings));
            }
        }
        if some {
            last = Instant::now();
        }
    }
    Ok(())
}

/// Reads a record. The kernel wrote it, so a wrong length would be another version's.
fn parse(bytes: &[u8]) -> Option<Event> {
    let bytes: &[u8; size_of::<Event>()] = bytes.try_into().ok()?;
    Some(crate::sys::plain::event(bytes))
}

fn named(event: &Event, unix_at_zero: u64, endings: &Endings) -> FlowEvent {
    let mut reason = Reason::from_number(event.reason);
    let (mut set, mut rule) = (event.set, event.rule);
    if event.kind == EventKind::Closed as u8
        && let Some(ending) = endings.take(event.cookie)
    {
        (reason, set, rule) = (ending.reason, ending.set, ending.rule);
    }
    let tuple = &event.tuple;
    FlowEvent {
        unix_nanoseconds: unix_at_zero.wrapping_add(event.at),
        kind: event.kind,
        origin: event.origin,
        reason,
        direction: if event.direction == Direction::Ingress as u8 {
            Direction::Ingress
        } else {
            Direction::Egress
        },
        set,
        rule,
        uid: event.uid,
        group: event.group,
        peer_uid: event.peer_uid,
        peer_group: event.peer_group,
        protocol: tuple.protocol,
        source: (tuple.source.into(), tuple.source_port),
        destination: (tuple.destination.into(), tuple.destination_port),
        dialled: (event.dialled.into(), event.dialled_port),
        cookie: event.cookie,
        duration: event.duration,
        bytes_sent: event.bytes_sent,
        bytes_received: event.bytes_received,
        rtt_microseconds: event.rtt_microseconds,
        retransmits: event.retransmits,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, Endings, named, parse};
    use mesh_ebpf::abi::{Event, EventKind, Reason};
    use mesh_ebpf::policy::SetId;

    #[test]
    fn an_ending_by_the_mesh_names_its_rule_and_only_once() {
        let endings = Endings::default();
        let set = SetId::new(1 << 8, false, false);
        endings.announce(7, Ending { reason: Reason::PolicyChanged, set, rule: 3 });
        let mut event = parse(&[0; size_of::<Event>()]).unwrap();
        event.kind = EventKind::Closed as u8;
        event.cookie = 7;
        event.reason = Reason::Reset as u16;
        event.at = 5;
        let first = named(&event, 100, &endings);
        assert_eq!((first.reason, first.set, first.rule), (Reason::PolicyChanged, set, 3));
        assert_eq!(first.unix_nanoseconds, 105);
        assert_eq!(named(&event, 100, &endings).reason, Reason::Reset);
        assert!(parse(&[0; 3]).is_none());
    }
}
