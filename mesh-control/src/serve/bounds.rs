//! How much of the controller one peer can take, so that there is some left for the others.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Handshakes that are under way at a time, at most.
const HANDSHAKES: usize = 512;
/// Of them, from one address. Many nodes may be behind one, and each takes milliseconds.
const HANDSHAKES_OF_ONE: usize = 16;
/// Connections of nodes, at most.
const CONNECTIONS: usize = 4096;
/// Of them, of one node: the one in use, the next one, and some whose end has not been noticed yet.
const CONNECTIONS_OF_ONE: usize = 8;
/// Connections of whoever is no node that is served, at most.
const STRANGERS: usize = 512;
/// Of them, from one address.
const STRANGERS_OF_ONE: usize = 8;

/// What bounds connections.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    handshakes: Bound<IpAddr>,
    nodes: Bound<String>,
    strangers: Bound<IpAddr>,
}

/// Too many of one kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    #[error("more than {HANDSHAKES_OF_ONE} handshakes at a time from one address; see what opens them")]
    Handshakes,
    #[error("more than {CONNECTIONS_OF_ONE} connections of node {0}, or {CONNECTIONS} of all nodes")]
    Connections(String),
    #[error(
        "more than {STRANGERS_OF_ONE} connections without the certificate of a node that is served from one address, or {STRANGERS} in all; see what opens them"
    )]
    Strangers,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            handshakes: Bound::new(HANDSHAKES, HANDSHAKES_OF_ONE),
            nodes: Bound::new(CONNECTIONS, CONNECTIONS_OF_ONE),
            strangers: Bound::new(STRANGERS, STRANGERS_OF_ONE),
        }
    }
}

impl Bounds {
    /// Waits for room for a handshake. Whoever it is from is not known before it is accepted.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.handshakes.all.clone().acquire_owned().await.ok()
    }

    /// A handshake from an address; the Unix socket has none, and only agents reach it.
    pub(super) fn handshake(
        &self,
        room: OwnedSemaphorePermit,
        from: Option<IpAddr>,
    ) -> Result<Share, TooMany> {
        self.handshakes.of_one(room, from).ok_or(TooMany::Handshakes)
    }

    /// A connection of a node.
    pub(super) fn node(&self, node: &str) -> Result<Share, TooMany> {
        self.nodes.take(Some(node.to_owned())).ok_or_else(|| TooMany::Connections(node.to_owned()))
    }

    /// A connection of somebody else.
    pub(super) fn stranger(&self, from: Option<IpAddr>) -> Result<Share, TooMany> {
        self.strangers.take(from).ok_or(TooMany::Strangers)
    }
}

/// A bound for all together and for each.
#[derive(Debug)]
struct Bound<K> {
    all: Arc<Semaphore>,
    each: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for Bound<K> {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), each: self.each, taken: self.taken.clone() }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Bound<K> {
    fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, taken: Arc::default() }
    }

    fn take(&self, whose: Option<K>) -> Option<Share> {
        self.of_one(self.all.clone().try_acquire_owned().ok()?, whose)
    }

    fn of_one(&self, room: OwnedSemaphorePermit, whose: Option<K>) -> Option<Share> {
        let Some(whose) = whose else { return Some(Share { _room: room, give_back: None }) };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(whose.clone()).or_default();
        if *count == self.each {
            return None;
        }
        *count += 1;
        let shared = self.taken.clone();
        let give_back = move || {
            let mut taken = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = taken.get_mut(&whose) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(&whose);
                }
            }
        };
        Some(Share { _room: room, give_back: Some(Box::new(give_back)) })
    }
}

/// A part of a bound, given back when it is dropped.
pub(super) struct Share {
    _room: OwnedSemaphorePermit,
    give_back: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, CONNECTIONS_OF_ONE, HANDSHAKES_OF_ONE, STRANGERS_OF_ONE, TooMany};

    #[tokio::test]
    async fn one_address_or_node_takes_its_share_and_others_have_theirs() {
        let bounds = Bounds::default();
        let (one, other) = (Some("10.0.0.1".parse().unwrap()), Some("10.0.0.2".parse().unwrap()));
        let mut held = Vec::new();
        for _ in 0..HANDSHAKES_OF_ONE {
            held.push(bounds.handshake(bounds.room().await.unwrap(), one).ok().unwrap());
        }
        let refused = bounds.handshake(bounds.room().await.unwrap(), one).err();
        assert_eq!(refused, Some(TooMany::Handshakes));
        assert!(bounds.handshake(bounds.room().await.unwrap(), other).is_ok());
        held.pop();
        assert!(bounds.handshake(bounds.room().await.unwrap(), one).is_ok());

        let strangers: Vec<_> = (0..STRANGERS_OF_ONE).map(|_| bounds.stranger(one).ok().unwrap()).collect();
        assert_eq!(bounds.stranger(one).err(), Some(TooMany::Strangers));
        assert!(bounds.stranger(other).is_ok());
        drop(strangers);
        assert!(bounds.stranger(one).is_ok());
        let nodes: Vec<_> = (0..CONNECTIONS_OF_ONE).map(|_| bounds.node("n1").ok().unwrap()).collect();
        assert_eq!(bounds.node("n1").err(), Some(TooMany::Connections("n1".to_owned())));
        assert!(bounds.node("n2").is_ok());
        drop((nodes, held));
        assert!(bounds.strangers.taken.lock().unwrap().is_empty(), "nobody is remembered");
        assert!(bounds.handshakes.taken.lock().unwrap().is_empty());
        // Agents of one machine share the Unix socket.
        let unix: Vec<_> = (0..100).map(|_| bounds.stranger(None).ok().unwrap()).collect();
        assert_eq!(unix.len(), 100);
    }
}
