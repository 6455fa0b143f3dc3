//! How often the API server is asked about tokens: whoever reaches the controller's port can make it ask, with a text
//! that looks like a token, and the API server has others to answer.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::bucket::{Buckets, Rate};

/// For one address: an agent that is new asks once, and with doubling pauses where it is refused. Several nodes may be
/// behind one.
const OF_ONE: Rate = Rate { burst: 16, per_second: 2 };
/// For all addresses of an IPv6 /64, which may be one machine's, or those of all nodes: half of what there is.
const OF_NETWORK: Rate = Rate { burst: 128, per_second: 25 };
/// For all: the agents of a cluster that is being installed come at once, and try again.
const OF_ALL: Rate = Rate { burst: 256, per_second: 50 };

/// The questions that were asked lately. Addresses that may ask without limit are not remembered, and of others no more
/// than there were questions while their buckets fill: [`OF_ALL`] bounds them.
#[derive(Debug)]
pub(super) struct Asking {
    each: Buckets<IpAddr>,
    networks: Buckets<Ipv6Addr>,
    all: Buckets<()>,
    refused: u64,
}

/// The API server is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooOften {
    /// For this address.
    #[error(
        "the API server is asked about no more than {rate} tokens a second for one address, and {0} sent more; ask again in a second, and see what asks from there",
        rate = OF_ONE.per_second
    )]
    One(IpAddr),
    /// For its network.
    #[error(
        "the API server is asked about no more than {rate} tokens a second for one IPv6 network, and {0}/64 sent more; ask again in a second, and see what asks from there",
        rate = OF_NETWORK.per_second
    )]
    Network(Ipv6Addr),
    /// For anybody.
    #[error(
        "the API server is asked about no more than {} tokens a second, and more are sent; ask again in a second",
        OF_ALL.per_second
    )]
    All,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            each: Buckets::new(OF_ONE),
            networks: Buckets::new(OF_NETWORK),
            all: Buckets::new(OF_ALL),
            refused: 0,
        }
    }
}

impl Asking {
    /// Takes the right to ask once for an address; the Unix socket has none, and only agents reach it. What one address
    /// is refused costs the others nothing.
    pub(super) fn take(&mut self, from: Option<IpAddr>, now: Duration) -> Result<(), TooOften> {
        let network = from.and_then(network);
        let taken = match (from, network) {
            (Some(address), _) if !self.each.has(&address, now) => Err(TooOften::One(address)),
            (_, Some(network)) if !self.networks.has(&network, now) => Err(TooOften::Network(network)),
            _ if !self.all.take((), now) => Err(TooOften::All),
            _ => {
                if let Some(address) = from {
                    self.each.take(address, now);
                }
                if let Some(network) = network {
                    self.networks.take(network, now);
                }
                Ok(())
            }
        };
        self.refused += u64::from(taken.is_err());
        taken
    }

    /// How often the API server was not asked.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// The /64 of an IPv6 address: who has one address of it mostly has them all.
fn network(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use proptest::prelude::*;

    use super::{Asking, OF_ALL, OF_NETWORK, OF_ONE, TooOften};

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn one_address_that_floods_leaves_the_others_theirs() {
        let (mut asking, mut now) = (Asking::default(), Duration::from_secs(7));
        let asked = (0..1000).filter(|_| asking.take(address(1), now).is_ok()).count();
        assert_eq!(asked, OF_ONE.burst as usize);
        assert_eq!(asking.take(address(1), now), Err(TooOften::One("0.0.0.1".parse().unwrap())));
        assert_eq!(asking.refused(), 1000 - u64::from(OF_ONE.burst) + 1);
        assert_eq!(asking.take(address(2), now), Ok(()));
        now += Duration::from_secs(1);
        let asked = (0..1000).filter(|_| asking.take(address(1), now).is_ok()).count();
        assert_eq!(asked, OF_ONE.per_second as usize);
        // Those of one machine share the Unix socket.
        assert!((0..100).all(|_| asking.take(None, now).is_ok()));
    }

    #[test]
    fn one_ipv6_network_that_floods_leaves_the_others_theirs() {
        let now = Duration::from_secs(7);
        let mut asking = Asking::default();
        let of = |network: u16, number: u16| Some(IpAddr::from([0xfd00, 0, 0, network, 0, 0, 0, number]));
        let asked = (0..1000).filter(|number| asking.take(of(1, *number), now).is_ok()).count();
        assert_eq!(asked, OF_NETWORK.burst as usize);
        assert_eq!(asking.take(of(1, 1000), now), Err(TooOften::Network("fd00:0:0:1::".parse().unwrap())));
        // Of another network one has what one address has.
        let asked = (0..1000).filter(|_| asking.take(of(2, 1), now).is_ok()).count();
        assert_eq!(asked, OF_ONE.burst as usize);
        assert_eq!(asking.take(of(2, 2), now), Ok(()));
        assert_eq!(asking.take(address(1), now), Ok(()));
    }

    /// Faster than tokens come back: what is refused costs nothing.
    #[test]
    fn who_floods_from_everywhere_leaves_all_that_may_be_asked() {
        let (mut asking, mut asked) = (Asking::default(), 0);
        for at in 0..=10_000_u32 {
            asked += u32::from(asking.take(address(at), Duration::from_millis(u64::from(at))).is_ok());
        }
        assert_eq!(asked, OF_ALL.burst + 10 * OF_ALL.per_second);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// From however many addresses: the API server is asked no more than it may be, and no more addresses are
        /// remembered than that.
        #[test]
        fn all_together_are_bounded(steps in prop::collection::vec((0_u64..500, 0_u32..1000), 1..20)) {
            let (mut asking, mut now, mut asked) = (Asking::default(), Duration::ZERO, 0_u64);
            for (pause, many) in steps {
                now += Duration::from_millis(pause);
                for number in 0..many {
                    asked += u64::from(asking.take(address(number), now).is_ok());
                }
                let bound = u64::from(OF_ALL.burst) + now.as_secs_f64().mul_add(f64::from(OF_ALL.per_second), 1.0) as u64;
                prop_assert!(asked <= bound, "{asked} of {bound}");
                prop_assert!(asking.each.len() as u64 <= 1024 + bound);
            }
        }
    }
}
