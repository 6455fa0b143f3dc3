//! What relay refuses before it is out of it: open files ([`files`]), handshakes under way
//! ([`handshakes`]), tunnels of one peer.

mod files;
mod handshakes;
mod pace;
mod tally;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use files::{Files, Held};
pub(crate) use handshakes::{Budget, Caller, Handshake, Handshakes};
use tally::{Counted, Tally};

/// Tunnels that one peer address may have to one pod, in one worker: as many as relay itself makes.
const TUNNELS: usize = 512;

/// Tunnels that are up, or on their way, by the pod they lead to and where they come from.
#[derive(Debug, Default)]
pub(crate) struct Tunnels(Rc<Tally<(Arc<str>, IpAddr)>>);

/// One of them.
pub(crate) type TunnelCounted = Counted<(Arc<str>, IpAddr)>;

/// Why a tunnel is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("peer {0} has {TUNNELS} tunnels to this pod already")]
pub(crate) struct TooManyTunnels(IpAddr);

impl Tunnels {
    /// Counts one more for as long as what it gives lives.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn take(&self, pod: &Arc<str>, peer: IpAddr) -> Result<TunnelCounted, TooManyTunnels> {
        Tally::count(&self.0, (Arc::clone(pod), peer), TUNNELS).ok_or(TooManyTunnels(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::{TUNNELS, Tunnels};
    use std::net::IpAddr;

    #[test]
    fn one_peer_has_so_many_tunnels_to_a_pod_and_others_have_theirs() {
        let tunnels = Tunnels::default();
        let (peer, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<_> = (0..TUNNELS).map(|_| tunnels.take(&"a".into(), peer).unwrap()).collect();
        assert!(tunnels.take(&"a".into(), peer).is_err());
        assert!(tunnels.take(&"b".into(), peer).is_ok() && tunnels.take(&"a".into(), other).is_ok());
        held.pop();
        assert!(tunnels.take(&"a".into(), peer).is_ok());
    }
}
