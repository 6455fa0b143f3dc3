//! Why connections through the tunnel were ended by the mesh itself. wire ends them and says why;
//! relay sees a reset, with the bytes and the time. The two are joined here.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::handover::Ended;

/// Endings that may wait for the workers' reports of them.
const LIMIT: usize = 16_384;

/// The application's socket or the endpoint.
type End = (IpAddr, u16);

/// Endings by connection.
#[derive(Debug, Default)]
pub(super) struct Endings(HashMap<(End, End), Ended>);

impl Endings {
    /// Notes one.
    pub(super) fn note(&mut self, ended: Ended) {
        if self.0.len() >= LIMIT {
            // Their reports were lost.
            self.0.clear();
        }
        self.0.insert((ended.source, ended.destination), ended);
    }

    /// Takes that of a connection that has been reported.
    pub(super) fn take(&mut self, source: End, destination: End) -> Option<Ended> {
        self.0.remove(&(source, destination))
    }
}

#[cfg(test)]
mod tests {
    use super::{Endings, LIMIT};
    use crate::handover::Ended;
    use mesh_ebpf::abi::Reason;
    use mesh_ebpf::policy::SetId;
    use std::net::{IpAddr, Ipv4Addr};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2));

    fn ended(port: u16) -> Ended {
        let (source, destination) = ((HERE, port), (THERE, 80));
        Ended { source, destination, reason: Reason::PolicyChanged, set: SetId::EMPTY, rule: port }
    }

    #[test]
    fn an_ending_is_told_once_and_those_never_asked_for_are_bounded() {
        let mut endings = Endings::default();
        endings.note(ended(7));
        assert_eq!(endings.take((HERE, 7), (THERE, 80)).unwrap().rule, 7);
        assert!(endings.take((HERE, 7), (THERE, 80)).is_none());
        for port in 0..=LIMIT as u16 {
            endings.note(ended(port));
        }
        assert!(endings.0.len() <= LIMIT);
        assert!(endings.take((HERE, LIMIT as u16), (THERE, 80)).is_some(), "the newest");
    }
}
