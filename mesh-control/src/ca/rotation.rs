//! The replacement of a root, step by step, with nobody refused on the way.
//!
//! ```text
//! Stable ──(a new root is there)──> Distributing ──(every node believes both)──> Reissuing
//!    ^                                                                              │
//!    └───────────(every live certificate is of the new root, or has expired)────────┘
//! ```
//!
//! While distributing, the old issuer signs and both roots are sent out; while reissuing, the new
//! one signs and both are still believed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A node that is not connected is waited for this long, from when the new root could be had of this
/// process and the node was last there: after that it learns of the new root when it connects, before
/// it meets a certificate of it only if it connects first.
pub(super) const ABSENT_GRACE: Duration = Duration::from_secs(60);
/// The old root is believed this long after its last certificate was replaced: connections made
/// with it are still being handed over.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// How far a replacement is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// There is none.
    #[default]
    Stable,
    /// Nodes are told of the new root.
    Distributing,
    /// Certificates are issued anew.
    Reissuing,
}

/// A phase and its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rotation {
    pub(super) phase: Phase,
    pub(super) since: Timestamp,
    /// Since when nothing is left to wait for.
    #[serde(skip)]
    done_since: Option<Timestamp>,
}

/// What is known of the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Connected nodes that have not acknowledged the roots that are sent out.
    pub(super) unaware: usize,
    /// Nodes that hold certificates, are not connected, and have been away for less than
    /// [`ABSENT_GRACE`].
    pub(super) absent: usize,
    /// Live certificates of the old root that are still in use.
    pub(super) outstanding: usize,
}

impl Rotation {
    /// Begins a phase.
    pub(super) fn at(phase: Phase, since: Timestamp) -> Self {
        Self { phase, since, done_since: None }
    }

    /// The phase that follows, if it is time.
    pub(super) fn advance(&mut self, progress: Progress, now: Timestamp) -> Option<Phase> {
        match self.phase {
            Phase::Stable => None,
            Phase::Distributing => {
                (progress.unaware == 0 && progress.absent == 0).then_some(Phase::Reissuing)
            }
            Phase::Reissuing => {
                if progress.outstanding > 0 {
                    self.done_since = None;
                    return None;
                }
                let since = *self.done_since.get_or_insert(now);
                (now.since(since) >= SETTLE).then_some(Phase::Stable)
            }
        }
    }
}

/// What the controller has to do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// A new issuer under the same root.
    Issuer,
    /// A new root.
    Root,
}

/// Decides what a generated authority needs. A root is replaced while an issuer made under it
/// could still live its whole life; an issuer is replaced when a third of its life is left.
pub(super) fn due(
    phase: Phase,
    issuer: (Timestamp, Timestamp),
    root_not_after: Timestamp,
    issuer_ttl: Duration,
    now: Timestamp,
) -> Due {
    let (not_before, not_after) = issuer;
    if phase == Phase::Stable && root_not_after.since(now) < issuer_ttl {
        return Due::Root;
    }
    // One under a root that ends with it would end no later.
    let gains = root_not_after > not_after;
    if gains && not_after.since(now) < not_after.since(not_before) / 3 { Due::Issuer } else { Due::Nothing }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Due, Phase, Progress, Rotation, SETTLE, due};
    use crate::ca::Timestamp;

    const START: i64 = 1_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(START).after(Duration::from_secs(seconds))
    }

    #[test]
    fn every_connected_node_must_know_the_new_root_first() {
        let mut rotation = Rotation::at(Phase::Distributing, at(0));
        let unaware = Progress { unaware: 1, ..Progress::default() };
        assert_eq!(rotation.advance(unaware, at(100_000)), None, "however long it takes");
        assert_eq!(rotation.advance(Progress::default(), at(0)), Some(Phase::Reissuing));
    }

    #[test]
    fn an_absent_node_is_waited_for() {
        let mut rotation = Rotation::at(Phase::Distributing, at(0));
        let absent = Progress { absent: 1, ..Progress::default() };
        assert_eq!(rotation.advance(absent, at(1000)), None);
        assert_eq!(rotation.advance(Progress::default(), at(1000)), Some(Phase::Reissuing));
    }

    #[test]
    fn the_old_root_goes_when_nothing_of_it_is_left() {
        let mut rotation = Rotation::at(Phase::Reissuing, at(0));
        let left = Progress { outstanding: 1, ..Progress::default() };
        assert_eq!(rotation.advance(left, at(1000)), None);
        assert_eq!(rotation.advance(Progress::default(), at(1000)), None, "it settles first");
        assert_eq!(rotation.advance(left, at(1001)), None, "one came back");
        assert_eq!(rotation.advance(Progress::default(), at(1002)), None);
        assert_eq!(rotation.advance(Progress::default(), at(1002).after(SETTLE)), Some(Phase::Stable));
        assert_eq!(Rotation::at(Phase::Stable, at(0)).advance(Progress::default(), at(9999)), None);
    }

    #[test]
    fn issuer_and_root_are_replaced_before_they_expire() {
        let ttl = Duration::from_secs(900);
        let issuer = (at(0), at(900));
        assert_eq!(due(Phase::Stable, issuer, at(9000), ttl, at(599)), Due::Nothing);
        assert_eq!(due(Phase::Stable, issuer, at(9000), ttl, at(601)), Due::Issuer);
        assert_eq!(due(Phase::Stable, issuer, at(1000), ttl, at(200)), Due::Root);
        assert_eq!(
            due(Phase::Distributing, issuer, at(1000), ttl, at(700)),
            Due::Issuer,
            "a root is under way"
        );
        assert_eq!(due(Phase::Reissuing, issuer, at(900), ttl, at(700)), Due::Nothing);
    }
}
