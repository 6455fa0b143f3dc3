//! Open files: who may have one more when there are few.
//!
//! The kernel gives out the lowest free descriptor, so a descriptor's number says how many are
//! open at least: comparing the newest with the limit is exact when it matters and costs nothing.
//! A connection that takes relay into the last [`HEAD_ROOM`]th of its descriptors is refused
//! politely, so that what is open, the control plane and metrics go on.
//!
//! Before that they become scarce. One pod may have nearly all while others are quiet, and must not
//! starve them, also those that have nothing yet. Where files are scarce, a pod that has some gets
//! more only below the share it had if one more pod came; the last part of them is a reserve for
//! pods that hold less than is left ("dynamic thresholds", Choudhury and Hahne 1998): each newcomer
//! leaves the next one some.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// One part in so many of the open-file limit is kept free.
const HEAD_ROOM: u64 = 20;
/// One part in so many of what may be used is scarce.
const SCARCE: u64 = 16;
/// And of that, the reserve.
const RESERVE: u64 = 32;

/// The open files relay may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    refuse_from: u64,
    workers: u64,
}

/// What a pod has open in a worker, and all have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// By the pod that asks.
    pub by_pod: usize,
    /// By all.
    pub by_all: usize,
    /// How many pods have any.
    pub pods: usize,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoFile {
    /// For anybody.
    #[error("relay has no open files to spare; raise LimitNOFILE of mesh-agent relay")]
    Exhausted,
    /// For this pod.
    #[error(
        "relay's open files are scarce and this pod has more than its share of connections; raise LimitNOFILE of mesh-agent relay, or look at what the pod does"
    )]
    Scarce,
}

impl Files {
    /// Raises the limit of this process as far as it may, and takes that. Every worker sees only
    /// what is open in itself, so it must know how many there are.
    pub(crate) fn of_process(workers: usize) -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(error) => {
                tracing::warn!(%error, soft, hard, "the limit of open files stays at the soft one");
                soft
            }
        };
        Self::at_most(limit, workers)
    }

    /// Takes a limit.
    pub(crate) fn at_most(limit: u64, workers: usize) -> Self {
        Self { refuse_from: limit - limit / HEAD_ROOM, workers: workers.max(1) as u64 }
    }

    /// Whether a connection with this newest descriptor still has room, whoever's it is.
    pub(crate) fn have_room(&self, newest: &impl AsFd) -> bool {
        number(newest) < self.refuse_from
    }

    /// Whether a pod may have a connection with this newest descriptor besides what is `held`.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn spare(&self, newest: &impl AsFd, held: Held) -> Result<(), NoFile> {
        self.spare_number(number(newest), held)
    }

    fn spare_number(&self, newest: u64, held: Held) -> Result<(), NoFile> {
        let left = self.refuse_from.checked_sub(newest).filter(|left| *left > 0).ok_or(NoFile::Exhausted)?;
        let (by_pod, by_all, pods) = (held.by_pod as u64, held.by_all as u64, held.pods as u64);
        let plenty = left > self.refuse_from / SCARCE;
        let holds_little = by_pod * self.workers < left;
        let below_its_share = left > self.refuse_from / RESERVE && by_pod * (pods + 1) <= by_all;
        if plenty || holds_little || below_its_share { Ok(()) } else { Err(NoFile::Scarce) }
    }
}

fn number(descriptor: &impl AsFd) -> u64 {
    u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Files, Held, NoFile};

    /// Takes connections for `pod` until it gets no more; gives how many it got.
    fn fill(files: Files, held: &mut [usize], pod: usize) -> usize {
        let before = held[pod];
        loop {
            let by_all: usize = held.iter().sum();
            let pods = held.iter().filter(|count| **count > 0).count();
            let now = Held { by_pod: held[pod], by_all, pods };
            if files.spare_number(by_all as u64, now).is_err() {
                return held[pod] - before;
            }
            held[pod] += 1;
        }
    }

    #[test]
    fn the_last_descriptors_are_kept() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Files::at_most(100_000, 1).have_room(&socket));
        assert!(!Files::at_most(2, 1).have_room(&socket));
        assert_eq!(Files::at_most(2, 1).spare(&socket, Held::default()), Err(NoFile::Exhausted));
        assert_eq!(Files::at_most(100_000, 1).spare(&socket, Held::default()), Ok(()));
    }

    #[test]
    fn whoever_comes_late_finds_room_beside_one_that_takes_all_it_gets() {
        for limit in [256, 1024, 65_536, 1 << 20] {
            let files = Files::at_most(limit, 1);
            let mut held = [0; 4];
            let greedy = fill(files, &mut held, 0) as u64;
            assert!(greedy * 10 > files.refuse_from * 9, "alone it has nearly all: {greedy} of {limit}");
            for pod in 1..held.len() {
                let got = fill(files, &mut held, pod);
                assert!(got > 0, "pod {pod} of {limit}");
                assert_eq!(fill(files, &mut held, 0), 0, "and the greedy one no more");
            }
        }
    }

    #[test]
    fn who_is_below_its_share_goes_on_until_the_reserve() {
        let files = Files::at_most(1_000_000, 1);
        let held = Held { by_pod: 200_000, by_all: 890_000, pods: 2 };
        assert_eq!(files.spare_number(900_000, held), Ok(()));
        let over = Held { by_pod: 690_000, ..held };
        assert_eq!(files.spare_number(900_000, over), Err(NoFile::Scarce));
        assert_eq!(files.spare_number(940_000, held), Err(NoFile::Scarce));
        assert_eq!(files.spare_number(949_999, Held { by_pod: 0, ..held }), Ok(()), "the last one");
    }

    #[test]
    fn a_worker_leaves_room_for_what_it_cannot_see() {
        // The greedy pod's connections are other workers'.
        let files = Files::at_most(100_000, 4);
        let held = Held { by_pod: 30, by_all: 30, pods: 1 };
        assert_eq!(files.spare_number(95_000 - 130, held), Ok(()));
        assert_eq!(files.spare_number(95_000 - 110, held), Err(NoFile::Scarce));
    }
}
