//! Ending what is left from before a pod came into the mesh, or left it (`meshctl enroll --reset`).
//!
//! What that is needs no memory: the kernel has a record of every connection that its programs saw begin, with
//! the time, and of every pod when it was wired. So it is the same after another wire has taken this one's
//! place; what this one noted at wiring is only counted in.

use std::collections::{HashMap, HashSet};
use std::io;

use mesh_ebpf::abi::{Flow, Origin, Pod};

use super::judge::{Connection, Known, accepted_by_the_tunnel};
use super::maps::Maps;
use super::older::Older;
use super::roster::Wired;
use super::sockets::{Socket, Sockets};
use crate::handover::{Answer, Reset};

/// A pod whose connections from before are to be ended.
#[derive(Debug)]
pub(super) struct Order {
    /// Of the question that this answers.
    pub(super) id: u64,
    /// The pod, wired or not.
    pub(super) pod: Wired,
    /// It is in the mesh.
    pub(super) enrolled: bool,
}

/// What is known of connections from before.
struct Before<'a, K> {
    known: &'a K,
    pod: &'a Pod,
    /// When sockets with a record were opened, by cookie.
    recorded: HashMap<u64, u64>,
    /// Noted when the pod was wired.
    noted: HashSet<u64>,
}

impl<K: Known> Before<'_, K> {
    /// Whether a connection of the wired pod with somebody else began without the mesh.
    fn is_older(&self, connection: &Connection) -> bool {
        let Connection { tuple, cookie, .. } = connection;
        if self.pod.owns(&tuple.destination) {
            return false;
        }
        if self.noted.contains(cookie) {
            return true;
        }
        let since = self.pod.wired_at;
        let recorded = self.recorded.get(cookie).is_some_and(|at| *at >= since);
        let own = self.known.flow(tuple).filter(|flow| flow.cookie == *cookie);
        let judged = [own, self.known.flow(&tuple.reversed())];
        let seen = recorded || judged.iter().flatten().any(|flow| flow.opened_at >= since);
        !seen && !accepted_by_the_tunnel(self.known, tuple)
    }

    /// Whether the agent carries a connection of the application.
    fn is_carried(&self, connection: &Connection) -> bool {
        let Connection { tuple, cookie, .. } = connection;
        let dialled = self.known.flow(tuple).filter(|flow| flow.cookie == *cookie);
        let delivered = self.known.flow(&tuple.reversed());
        dialled.is_some_and(|flow| flow.flags & Flow::TUNNELLED != 0)
            || delivered
                .is_some_and(|flow| flow.origin == Origin::Agent as u8 && flow.flags & Flow::DELIVERY != 0)
    }
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
        let left = end(pod, &mut sockets, &doomed);
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
    let before = Before { known: maps, pod: &pod.entry, recorded, noted: older.of(&pod.uid) };
    let one = |socket: &Socket| socket.has_peer() && !socket.arriving && before.is_older(&connection(socket));
    Ok(open.into_iter().filter(one).collect())
}

fn carried(maps: &Maps, pod: &Wired, sockets: &mut Sockets) -> io::Result<Vec<Socket>> {
    let before = Before { known: maps, pod: &pod.entry, recorded: HashMap::new(), noted: HashSet::new() };
    let one = |socket: &Socket| socket.is_redirected() && before.is_carried(&connection(socket));
    Ok(sockets.tcp(false)?.into_iter().filter(one).collect())
}

fn connection(socket: &Socket) -> Connection {
    Connection { tuple: socket.outgoing(), cookie: socket.cookie(), listening: false }
}

/// Ends them; which could not be.
fn end(pod: &Wired, sockets: &mut Sockets, doomed: &[Socket]) -> HashSet<u64> {
    let mut left = HashSet::new();
    for socket in doomed {
        if let Err(error) = sockets.destroy(socket) {
            tracing::error!(pod = pod.uid, %error, "a connection from before stays");
            left.insert(socket.cookie());
        }
    }
    left
}

#[cfg(test)]
mod tests;
