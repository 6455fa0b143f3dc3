//! Which endpoint of a backend a request goes to.
//!
//! A worker knows the requests that it has under way itself. That is a sample of all that an endpoint
//! has, and enough for the power of two choices: what it avoids is piling up.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::decide::{Backend, Balance};
use super::tally::Tally;

/// Picks an endpoint for an attempt; those of `tried` only where there is no other.
pub(crate) fn pick(
    under_way: &Tally<SocketAddr>,
    backend: &Backend,
    tried: &[usize],
    random: [u64; 2],
) -> Option<SocketAddr> {
    index(under_way, backend, tried, random).map(|index| backend.endpoints[index])
}

/// The same, as an index into the backend's endpoints.
pub(crate) fn index(
    under_way: &Tally<SocketAddr>,
    backend: &Backend,
    tried: &[usize],
    random: [u64; 2],
) -> Option<usize> {
    let requests = |index: usize| backend.endpoints.get(index).map_or(0, |endpoint| under_way.of(endpoint));
    let picked = match backend.balance {
        Balance::LeastRequests => backend.weights.least_requests(random, requests, tried),
        Balance::RoundRobin => {
            backend.weights.round_robin(backend.turn.fetch_add(1, Ordering::Relaxed), tried)
        }
    };
    picked.filter(|index| *index < backend.endpoints.len())
}

#[cfg(test)]
mod tests {
    use super::{Backend, Balance, Tally, index};
    use mesh_l7::pick::Weighted;
    use std::rc::Rc;

    #[test]
    fn the_busy_one_is_avoided_and_forgotten_when_idle() {
        let endpoints = vec!["10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap()];
        let mut backend = Backend { endpoints, weights: Weighted::new([1, 1]), ..Backend::default() };
        let under_way = Rc::new(Tally::default());
        let busy = under_way.enter(backend.endpoints[0]);
        for random in [[0, u64::MAX], [u64::MAX, 0]] {
            assert_eq!(index(&under_way, &backend, &[], random), Some(1));
            assert_eq!(
                index(&under_way, &backend, &[1], random),
                Some(0),
                "another than the one that failed"
            );
        }
        drop(busy);
        assert!(under_way.is_empty());
        backend.balance = Balance::RoundRobin;
        let turns: Vec<_> = (0..4).filter_map(|_| index(&under_way, &backend, &[], [0, 0])).collect();
        assert!(turns == [0, 1, 0, 1] || turns == [1, 0, 1, 0], "{turns:?}");
        assert_eq!(index(&under_way, &Backend::default(), &[], [0, 0]), None);
    }
}
