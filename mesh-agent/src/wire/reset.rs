//! Ending what is left from before a pod came into the mesh, or left it (`meshctl enroll --reset`).
//!
//! What that is needs no memory: the kernel has a record of every connection that its programs saw begin, with
//! the time, and of every pod when it was wired. So it is the same after another wire has taken this one's
//! place; what this one noted at wiring is only counted in.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{Flow, Origin, Pod};

use super::judge::{Connection, Known, accepted_by_the_tunnel};
use super::maps::Maps;
use super::older::Older;
use super::roster::Wired;
use super::sockets::{Record, Socket, Sockets};
use crate::handover::{Answer, Reset};

/// How long after it was asked for it is done at all: shorter than relay waits for the answer, so that what has
/// not begun by then is not done behind the back of who asked.
const WITHIN: Duration = Duration::from_secs(4);

/// A pod whose connections from before are to be ended.
#[derive(Debug)]
pub(super) struct Order {
    /// Of the question that this answers.
    pub(super) id: u64,
    /// The pod, wired or not.
    pub(super) pod: Wired,
    /// It is in the mesh.
    pub(super) enrolled: bool,
    /// When it was asked for.
    pub(super) asked: Instant,
}

impl Order {
    /// Why it is not to be done any more, given the pods that are wired now.
    pub(super) fn overtaken(&self, wired: &[Wired], now: Instant) -> Option<String> {
        let Self { pod, enrolled, asked, .. } = self;
        if now.duration_since(*asked) > WITHIN {
            return Some(format!(
                "pod {}: other work on open connections took longer than {} seconds; nothing was ended, try again",
                pod.uid,
                WITHIN.as_secs()
            ));
        }
        let now = wired.iter().find(|one| one.uid == pod.uid).map(|one| one.entry.wired_at);
        let expected = enrolled.then_some(pod.entry.wired_at);
        (now != expected).then(|| {
            format!(
                "pod {}: it came into the mesh or left it meanwhile; nothing was ended, try again",
                pod.uid
            )
        })
    }
}

/// What is known of connections from before.
struct Before<'a, K> {
    known: &'a K,
    pod: &'a Pod,
    /// Records of sockets, by cookie.
    recorded: HashMap<u64, Record>,
    /// Noted when the pod was wired.
    noted: HashSet<u64>,
}

impl<K: Known> Before<'_, K> {
    /// Whether a connection of the wired pod with somebody else began without the mesh. `half_closed` says that
    /// the peer has closed its side: of a peer on this node only its own flow tells, which ends with it.
    fn is_older(&self, connection: &Connection, half_closed: bool) -> bool {
        let Connection { tuple, cookie, .. } = connection;
        if self.pod.owns(&tuple.destination) {
            return false;
        }
        let record = self.recorded.get(cookie);
        if of_the_agent(self.known, record, connection) {
            return false;
        }
        if self.noted.contains(cookie) {
            return true;
        }
        let since = self.pod.wired_at;
        let judged = [self.known.own_flow(connection), self.known.flow(&tuple.reversed())];
        let mut opened = judged
            .iter()
            .flatten()
            .map(|flow| flow.opened_at)
            .chain(record.map(|record| record.opened_at))
            .peekable();
        let untold = opened.peek().is_none();
        let seen = opened.any(|at| at >= since);
        !(seen || (untold && half_closed) || accepted_by_the_tunnel(self.known, tuple))
    }

    /// Whether the agent carries a connection of the application.
    fn is_carried(&self, connection: &Connection) -> bool {
        let dialled = self.known.own_flow(connection);
        let delivered = self.known.flow(&connection.tuple.reversed());
        dialled.is_some_and(|flow| flow.flags & Flow::TUNNELLED != 0)
            || delivered
                .is_some_and(|flow| flow.origin == Origin::Agent as u8 && flow.flags & Flow::DELIVERY != 0)
    }
}

/// Whether a socket in a pod's namespace is the agent's own: a tunnel, a delivery, or made for the pod.
pub(super) fn of_the_agent(known: &impl Known, record: Option<&Record>, connection: &Connection) -> bool {
    let origins = [known.own_flow(connection).map(|flow| flow.origin), record.map(|record| record.origin)];
    known.is_agent(connection.cgroup)
        || origins.into_iter().flatten().any(|origin| origin == Origin::Agent as u8)
}

/// Does it, and answers.
pub(super) fn reset(maps: &Maps, older: &Older, order: &Order) -> Answer {
    let Order { pod, enrolled, .. } = order;
    let Some(netns) = pod.netns() else {
        return Answer::Failed(format!(
            "pod {}: no process of it is in a network namespace of its own; try again once its containers run",
            pod.uid
        ));
    };
    let done = Sockets::of(&netns).and_then(|mut sockets| {
        let doomed = if *enrolled {
            from_before(maps, older, pod, &mut sockets)
        } else {
            carried(maps, pod, &mut sockets)
        }?;
        let left = end(&pod.uid, &mut sockets, &doomed);
        if *enrolled {
            older.keep(&pod.uid, &left);
        }
        Ok(Reset { ended: (doomed.len() - left.len()) as u64, left: left.len() as u64 })
    });
    match done {
        Ok(Reset { ended, left }) => {
            tracing::info!(
                pod = pod.uid,
                enrolled,
                ended,
                left,
                "connections from before were ended, as ordered"
            );
            Answer::Reset(Reset { ended, left })
        }
        Err(error) => Answer::Failed(format!(
            "pod {}: its sockets cannot be told apart: {error}; `meshctl check` on this node says which kernel feature is missing",
            pod.uid
        )),
    }
}

fn from_before(maps: &Maps, older: &Older, pod: &Wired, sockets: &mut Sockets) -> io::Result<Vec<Socket>> {
    // In this order: of a connection that begins meanwhile there is a record before there is a socket.
    let open = sockets.tcp(false)?;
    let recorded = sockets.recorded(maps.socket_storage())?;
    let mut before = Before { known: maps, pod: &pod.entry, recorded, noted: older.of(&pod.uid) };
    let mut doomed: Vec<Socket> =
        open.into_iter().filter(|socket| socket.has_peer() && !socket.arriving).collect();
    doomed.retain(|socket| before.is_older(&connection(socket), socket.half_closed));
    if doomed.is_empty() {
        return Ok(doomed);
    }
    // A listing can miss a socket when another one ends meanwhile, and a peer can have closed since the first, with
    // which its flow goes: only after it has the other side seen it.
    let closed: HashSet<u64> =
        sockets.tcp(false)?.iter().filter(|socket| socket.half_closed).map(Socket::cookie).collect();
    before.recorded.extend(sockets.recorded(maps.socket_storage())?);
    doomed.retain(|socket| {
        let half_closed = socket.half_closed || closed.contains(&socket.cookie());
        before.is_older(&connection(socket), half_closed)
    });
    Ok(doomed)
}

fn carried(maps: &Maps, pod: &Wired, sockets: &mut Sockets) -> io::Result<Vec<Socket>> {
    let before = Before { known: maps, pod: &pod.entry, recorded: HashMap::new(), noted: HashSet::new() };
    let one = |socket: &Socket| socket.is_redirected() && before.is_carried(&connection(socket));
    Ok(sockets.tcp(false)?.into_iter().filter(one).collect())
}

/// As its socket shows it.
pub(super) fn connection(socket: &Socket) -> Connection {
    Connection::of(socket, |_| false)
}

/// Ends connections of the pod of this UID that are older than its wiring; which could not be, by cookie.
pub(super) fn end(uid: &str, sockets: &mut Sockets, doomed: &[Socket]) -> HashSet<u64> {
    let mut left = HashSet::new();
    for socket in doomed {
        if let Err(error) = sockets.destroy(socket) {
            tracing::error!(pod = uid, %error, "a connection from before stays");
            left.insert(socket.cookie());
        }
    }
    left
}

#[cfg(test)]
mod tests;
