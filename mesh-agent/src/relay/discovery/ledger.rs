//! What the controller was told of the pods of this node, and what it is to be told next.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use mesh_api::reports::{PodReport as Told, PodReportState, PodReports};

use crate::handover::{PodReport, PodState};

/// Pods in one message.
const PODS: usize = 256;
/// The longest reason, characters.
const REASON: usize = 512;

/// What was told on the present stream.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: BTreeMap<String, Told>,
    whole: bool,
    /// Since when each pod has been in its state, as far as this process saw.
    since: BTreeMap<String, (PodState, i64)>,
}

impl Ledger {
    /// A stream begins, and its other end knows nothing.
    pub(super) fn begin(&mut self) {
        self.told.clear();
        self.whole = false;
    }

    /// The messages that say how `pods` are, to one who was told everything that this gave before.
    pub(super) fn due(&mut self, pods: &BTreeMap<String, PodReport>, now: SystemTime) -> Vec<PodReports> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.since.retain(|uid, _| pods.contains_key(uid));
        let mut changed = Vec::new();
        for pod in pods.values() {
            let since = self.since.entry(pod.uid.clone()).or_insert((pod.state, now));
            if since.0 != pod.state {
                *since = (pod.state, now);
            }
            if let Some(report) = report(pod, since.1)
                && self.told.get(&pod.uid) != Some(&report)
            {
                changed.push(report);
            }
        }
        let is_told_of = |uid: &str| pods.get(uid).is_some_and(|pod| state(pod.state).is_some());
        let gone: Vec<String> = self.told.keys().filter(|uid| !is_told_of(uid)).cloned().collect();
        for uid in &gone {
            self.told.remove(uid);
        }
        self.told.extend(changed.iter().map(|report| (report.uid.clone(), report.clone())));
        let mut messages: Vec<PodReports> = Vec::new();
        for some in changed.chunks(PODS) {
            messages.push(PodReports { pods: some.to_vec(), ..PodReports::default() });
        }
        for some in gone.chunks(PODS) {
            messages.push(PodReports { gone: some.to_vec(), ..PodReports::default() });
        }
        if !std::mem::replace(&mut self.whole, true) {
            match messages.last_mut() {
                Some(last) => last.whole = true,
                None => messages.push(PodReports { whole: true, ..PodReports::default() }),
            }
        }
        messages
    }
}

/// What is told of a pod; nothing of one that has nothing to do with the mesh.
fn report(pod: &PodReport, since: i64) -> Option<Told> {
    Some(Told {
        uid: pod.uid.clone(),
        state: state(pod.state)?.into(),
        reason: pod.reason.chars().take(REASON).collect(),
        late: pod.late_enrolled,
        older_connections: pod.preexisting_connections > 0,
        since,
    })
}

const fn state(state: PodState) -> Option<PodReportState> {
    match state {
        PodState::Pending => Some(PodReportState::Pending),
        PodState::Wired => Some(PodReportState::Wired),
        PodState::Unknown | PodState::Plain => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use mesh_api::reports::{PodReport as Told, PodReports};
    use proptest::prelude::*;

    use super::{Ledger, PODS, report, state};
    use crate::handover::{PodReport, PodState};

    fn pod(uid: &str, state: PodState, reason: &str) -> PodReport {
        PodReport { reason: reason.to_owned(), ..PodReport::of(uid, state) }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn all(pods: impl IntoIterator<Item = PodReport>) -> BTreeMap<String, PodReport> {
        pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect()
    }

    #[test]
    fn a_stream_begins_with_everything_in_bounded_messages() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.due(&BTreeMap::new(), at(1)), [PodReports { whole: true, ..Default::default() }]);
        let pods = all((0..=PODS).map(|index| pod(&format!("u{index}"), PodState::Wired, "")));
        ledger.begin();
        let messages = ledger.due(&pods, at(1));
        let sizes: Vec<_> = messages.iter().map(|message| (message.pods.len(), message.whole)).collect();
        assert_eq!(sizes, [(PODS, false), (1, true)]);
        assert!(ledger.due(&pods, at(2)).is_empty(), "what did not change is not told again");
        ledger.begin();
        assert_eq!(ledger.due(&pods, at(3)), messages, "nor does a new stream change since when");
    }

    #[test]
    fn a_state_is_told_with_its_beginning_and_a_count_without_its_number() {
        let mut ledger = Ledger::default();
        let told = |ledger: &mut Ledger, pod: PodReport, now| {
            let messages = ledger.due(&all([pod]), at(now));
            messages.into_iter().flat_map(|message| message.pods).next()
        };
        let pending = pod("u", PodState::Pending, "no network yet");
        assert_eq!(told(&mut ledger, pending.clone(), 5).unwrap().since, 5);
        let other = PodReport { reason: "no interface yet".to_owned(), ..pending };
        assert_eq!(told(&mut ledger, other, 6).unwrap().since, 5);
        let wired = PodReport { preexisting_connections: 3, ..pod("u", PodState::Wired, "") };
        let first = told(&mut ledger, wired.clone(), 7).unwrap();
        assert_eq!((first.since, first.older_connections), (7, true));
        assert!(told(&mut ledger, PodReport { preexisting_connections: 2, ..wired.clone() }, 8).is_none());
        assert!(
            !told(&mut ledger, PodReport { preexisting_connections: 0, ..wired }, 9)
                .unwrap()
                .older_connections
        );
    }

    fn pods() -> impl Strategy<Value = BTreeMap<String, PodReport>> {
        let states = prop::sample::select(vec![
            PodState::Unknown,
            PodState::Pending,
            PodState::Wired,
            PodState::Plain,
        ]);
        let one = (0..6_u8, states, prop::sample::select(vec!["", "why"]));
        prop::collection::vec(one, 0..8).prop_map(|pods| {
            all(pods.into_iter().map(|(uid, state, why)| pod(&format!("u{uid}"), state, why)))
        })
    }

    proptest! {
        /// Whoever takes the messages of a stream in order knows what is true after each of them.
        #[test]
        fn changes_add_up_to_what_is_true(
            steps in prop::collection::vec((pods(), prop::bool::weighted(0.2)), 1..12),
        ) {
            let mut ledger = Ledger::default();
            let mut known: BTreeMap<String, Told> = BTreeMap::new();
            for (step, (pods, anew)) in steps.into_iter().enumerate() {
                if anew {
                    ledger.begin();
                    known.clear();
                }
                for message in ledger.due(&pods, at(step as u64)) {
                    message.gone.iter().for_each(|uid| drop(known.remove(uid)));
                    known.extend(message.pods.into_iter().map(|pod| (pod.uid.clone(), pod)));
                }
                let true_now = pods.values().filter(|pod| state(pod.state).is_some());
                let true_now: BTreeMap<String, Told> = true_now
                    .map(|pod| (pod.uid.clone(), report(pod, known[&pod.uid].since).unwrap()))
                    .collect();
                prop_assert_eq!(&known, &true_now);
            }
        }
    }
}
