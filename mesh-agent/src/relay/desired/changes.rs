//! What wire has been told, and what it still has to be.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;

use mesh_ebpf::policy::SetId;

use crate::handover::ToWire;

/// One thing wire holds. The order is the order of telling: sets before the pods that name them,
/// peers before the Services that lead to them, and both are taken away after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Settings of the node.
    Node,
    /// A compiled set.
    Set(SetId),
    /// Who is at an address.
    Peer(IpAddr),
    /// A Service port of one family.
    Service(u64),
    /// Nobody is at an address any more.
    PeerGone(IpAddr),
    /// A local pod, by UID.
    Pod(String),
    /// A compiled set that nobody names any more.
    SetGone(SetId),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node settings"),
            Self::Set(id) | Self::SetGone(id) => write!(f, "set {:016x}", id.0),
            Self::Peer(address) | Self::PeerGone(address) => write!(f, "peer {address}"),
            Self::Service(id) => write!(f, "service {id:016x}"),
            Self::Pod(uid) => write!(f, "pod {uid}"),
        }
    }
}

impl Key {
    /// What wire means by `pod <uid>`, `service <id>`, `set <id>` or `peer <address>`; numbers in
    /// either base, `known` telling which set exists.
    pub(super) fn named(what: &str, known: impl Fn(SetId) -> bool) -> Option<Self> {
        let (kind, name) = what.split_once(' ')?;
        let digits = name.strip_prefix("0x").unwrap_or(name);
        let hexadecimal = u64::from_str_radix(digits, 16).ok();
        let decimal = name.parse::<u64>().ok();
        match kind {
            "pod" => Some(Self::Pod(name.to_owned())),
            "peer" => name.parse().ok().map(Self::Peer),
            "service" => decimal.or(hexadecimal).map(Self::Service),
            "set" => {
                let candidates = [hexadecimal, decimal].into_iter().flatten().map(SetId);
                candidates.clone().find(|&id| known(id)).map(Self::Set)
            }
            _ => None,
        }
    }

    fn gone(&self) -> Option<ToWire> {
        match self {
            Self::Node | Self::Set(_) | Self::SetGone(_) | Self::Peer(_) | Self::PeerGone(_) => None,
            Self::Service(id) => Some(ToWire::ServiceGone { id: *id }),
            Self::Pod(uid) => Some(ToWire::PodGone { uid: uid.clone() }),
        }
    }
}

/// What differs between the state and what wire was told.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// May differ.
    pending: BTreeSet<Key>,
    /// Wire holds something under these.
    told: HashSet<Key>,
}

impl Changes {
    /// Wire holds nothing and is to be told all of this.
    pub(super) fn all(keys: impl Iterator<Item = Key>) -> Self {
        Self { pending: keys.collect(), told: HashSet::new() }
    }

    /// Notes that what is under a key may have changed.
    pub(super) fn changed(&mut self, key: Key) {
        self.pending.insert(key);
    }

    /// Whether nothing differs.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes the first key that may differ.
    pub(super) fn next(&mut self) -> Option<Key> {
        self.pending.pop_first()
    }

    /// Decides what to tell of a key whose state is `message`, and notes it as told.
    pub(super) fn told(&mut self, key: Key, message: Option<ToWire>) -> Option<ToWire> {
        match (key, message) {
            // Sets are immutable: one that wire holds is not sent again.
            (key @ Key::Set(_), Some(message)) => self.told.insert(key).then_some(message),
            (Key::SetGone(id), Some(message)) => self.told.remove(&Key::Set(id)).then_some(message),
            (Key::PeerGone(address), Some(message)) => {
                self.told.remove(&Key::Peer(address)).then_some(message)
            }
            (key, Some(message)) => {
                self.told.insert(key);
                Some(message)
            }
            // Released before its turn came: `SetGone` follows.
            (Key::Set(_) | Key::SetGone(_), None) => None,
            // There again before its turn came; a peer that is gone is told in its own turn.
            (Key::Peer(_) | Key::PeerGone(_), None) => None,
            (key, None) => self.told.remove(&key).then(|| key.gone()).flatten(),
        }
    }
}
