//! What is kept of what nodes tell, and of whom it counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_api::{
    condition::ConditionStatus,
    reports::{PodReport, PodReportState, PodReports},
};
use proptest::prelude::*;

use super::{
    Reports,
    standing::GRACE,
    store::{PODS, Refused},
};
use crate::{
    ca::{Placement, Placements},
    objects::ObjectName,
};

const NODES: [&str; 3] = ["n0", "n1", "n2"];

/// Pod `p<i>` with UID `u<i>` on node `n<i mod 3>`, in the mesh.
fn reports(pods: usize) -> Reports {
    let placements = Arc::new(Placements::default());
    placements.update((0..pods).map(|index| (name(index), Some(placement(index)))));
    Reports::new(placements)
}

fn name(index: usize) -> ObjectName {
    ObjectName::new("shop", format!("p{index}"))
}

fn placement(index: usize) -> Placement {
    Placement {
        uid: format!("u{index}"),
        node: NODES[index % 3].to_owned(),
        service_account: "web".to_owned(),
        enrolled: true,
        ended: false,
    }
}

fn wired(index: usize) -> PodReport {
    PodReport { uid: format!("u{index}"), state: PodReportState::Wired.into(), ..PodReport::default() }
}

fn of(pods: Vec<PodReport>, whole: bool) -> PodReports {
    PodReports { pods, gone: Vec::new(), whole }
}

fn status(reports: &Reports, index: usize, now: Instant) -> Option<(ConditionStatus, String)> {
    let standings = reports.standings(now);
    standings.conditions.get(&name(index)).map(|condition| (condition.status, condition.reason.clone()))
}

#[test]
fn a_state_is_told_whole_and_then_in_changes() {
    let (reports, now) = (reports(7), Instant::now());
    let node = Arc::<str>::from("n0");
    assert!(reports.standings(now).later.contains(&name(0)), "nobody has told anything yet");
    reports.begin(&node, 1, now);
    reports.take(&node, 1, of(vec![wired(0)], false)).unwrap();
    assert_eq!(status(&reports, 0, now), None, "half of a state is none");
    reports.take(&node, 1, of(vec![wired(3)], true)).unwrap();
    let enrolled = Some((ConditionStatus::True, "Enrolled".to_owned()));
    let pending = Some((ConditionStatus::False, "Pending".to_owned()));
    assert_eq!((status(&reports, 0, now), status(&reports, 3, now)), (enrolled.clone(), enrolled.clone()));
    assert_eq!(status(&reports, 6, now), pending, "the node has not found it");
    let change = PodReports { pods: vec![wired(6)], gone: vec!["u0".to_owned()], whole: false };
    reports.take(&node, 1, change).unwrap();
    assert_eq!((status(&reports, 0, now), status(&reports, 6, now)), (pending.clone(), enrolled.clone()));

    // The next stream takes over, and what was told before holds until it has told the whole.
    reports.begin(&node, 2, now);
    assert_eq!(reports.take(&node, 1, of(vec![wired(0)], false)), Err(Refused::Superseded));
    reports.end(&node, 1, now);
    assert_eq!(status(&reports, 3, now), enrolled);
    reports.take(&node, 2, of(vec![wired(0)], true)).unwrap();
    assert_eq!((status(&reports, 0, now), status(&reports, 3, now)), (enrolled.clone(), pending));
    reports.end(&node, 2, now);
    assert_eq!(status(&reports, 0, now), enrolled);
    assert_eq!(status(&reports, 0, now + GRACE), Some((ConditionStatus::Unknown, "AgentAway".to_owned())));
    // A controller that was not asked meanwhile waits for the node as long.
    reports.told_from(now + GRACE);
    assert_eq!(status(&reports, 0, now + GRACE), enrolled);
    reports.told_from(now);
    // Nor does anybody know of nodes that never told anything.
    let late = Instant::now() + GRACE + Duration::from_secs(1);
    assert_eq!(status(&reports, 1, late), Some((ConditionStatus::Unknown, "AgentAway".to_owned())));
}

#[test]
fn pods_that_are_known_to_be_elsewhere_are_refused_by_name() {
    let (reports, now) = (reports(3), Instant::now());
    let node = Arc::<str>::from("n0");
    reports.begin(&node, 1, now);
    let unknown = PodReport { uid: "not known yet".to_owned(), ..wired(0) };
    let taken = reports.take(&node, 1, of(vec![wired(0), wired(1), unknown], true)).unwrap();
    assert_eq!(taken.refused, ["u1"]);
}

#[test]
fn a_node_cannot_tell_of_more_pods_than_it_can_have() {
    let (reports, now) = (reports(0), Instant::now());
    let node = Arc::<str>::from("n0");
    reports.begin(&node, 1, now);
    let most: Vec<_> = (0..PODS).map(wired).collect();
    reports.take(&node, 1, of(most, true)).unwrap();
    assert_eq!(reports.take(&node, 1, of(vec![wired(PODS)], false)), Err(Refused::TooMany));
    let long = PodReport { uid: "u".repeat(65), ..wired(0) };
    assert_eq!(reports.take(&node, 1, of(vec![long], false)), Err(Refused::Uid(65)));
}

proptest! {
    /// Whatever nodes tell, in whatever order pods become known: of a pod only its own node counts.
    #[test]
    fn of_a_pod_its_own_node_counts_alone(
        told in prop::collection::vec((0..3_usize, 0..6_usize, any::<bool>()), 0..40),
        known_late in any::<bool>(),
    ) {
        let placements = Arc::new(Placements::default());
        let place = || placements.update((0..6).map(|index| (name(index), Some(placement(index)))));
        let (reports, now) = (Reports::new(placements.clone()), Instant::now());
        if !known_late {
            place();
        }
        let mut meant = [false; 6];
        for (index, node) in NODES.iter().enumerate() {
            let node = Arc::<str>::from(*node);
            reports.begin(&node, index as u64, now);
            reports.take(&node, index as u64, of(Vec::new(), true)).unwrap();
        }
        for (node, pod, there) in told {
            let message = if there {
                of(vec![wired(pod)], false)
            } else {
                PodReports { gone: vec![format!("u{pod}")], ..PodReports::default() }
            };
            reports.take(&NODES[node].into(), node as u64, message).unwrap();
            if pod % 3 == node {
                meant[pod] = there;
            }
        }
        place();
        for (pod, meant) in meant.into_iter().enumerate() {
            let expected = if meant { ConditionStatus::True } else { ConditionStatus::False };
            prop_assert_eq!(status(&reports, pod, now).map(|(status, _)| status), Some(expected));
        }
    }
}
