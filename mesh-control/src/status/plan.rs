//! When a status is written to the API server, and what: a condition is written when it says
//! something else than what is there, and its transition time moves only with its `status`.

use std::collections::BTreeMap;

use mesh_api::{
    condition::{
        ACCEPTED, CA_READY, CONFLICTED, Condition, ConditionStatus, PROGRAMMED, RESOLVED_REFS, SHADOWED,
        UDP_UNPROVEN, UNIQUE,
    },
    crd::StatusCondition,
};

use crate::objects::{Conditions, ObjectRef, Observed};

/// Types that are ours: what is there of them and is not wanted is stale. Others in an object's
/// status are somebody else's.
const OURS: [&str; 8] =
    [ACCEPTED, PROGRAMMED, CONFLICTED, SHADOWED, RESOLVED_REFS, UNIQUE, UDP_UNPROVEN, CA_READY];
/// As long as the schema lets a message be.
const MESSAGE_BYTES: usize = 32_768;

/// The objects whose status is to be written, and what with. Only objects that are known to be at
/// the API server are among them, and of those only such as say something else now.
pub(super) fn due(
    wanted: &Conditions,
    there: &BTreeMap<ObjectRef, Observed>,
    now: &str,
) -> Vec<(ObjectRef, Observed)> {
    let with_status = wanted.iter().filter_map(|(object, wanted)| Some((object, wanted, there.get(object)?)));
    let due = with_status.filter_map(|(object, wanted, there)| {
        let wanted = one_of_each_type(wanted);
        (!is_said(&wanted, there)).then(|| (object.clone(), dated(wanted, there, now)))
    });
    due.collect()
}

/// Whether the status says exactly that, of what is ours.
fn is_said(wanted: &[Condition], there: &Observed) -> bool {
    let said = |wanted: &Condition| there.0.iter().any(|there| there.condition == *wanted);
    let is_stale = |there: &StatusCondition| {
        OURS.contains(&there.condition.kind.as_str())
            && !wanted.iter().any(|wanted| wanted.kind == there.condition.kind)
    };
    wanted.iter().all(said) && !there.0.iter().any(is_stale)
}

/// The conditions with their transition times.
pub(super) fn dated(wanted: Vec<Condition>, there: &Observed, now: &str) -> Observed {
    let dated = wanted.into_iter().map(|condition| {
        let same = |there: &&StatusCondition| {
            there.condition.kind == condition.kind && there.condition.status == condition.status
        };
        let since = there.0.iter().find(same).map(|there| there.last_transition_time.clone());
        StatusCondition { condition, last_transition_time: since.unwrap_or_else(|| now.to_owned()) }
    });
    Observed(dated.collect())
}

/// Of several of one type, one that does not hold, with every such message.
fn one_of_each_type(conditions: &[Condition]) -> Vec<Condition> {
    let mut by_type: BTreeMap<&str, Condition> = BTreeMap::new();
    for condition in conditions {
        match by_type.get_mut(condition.kind.as_str()) {
            None => {
                by_type.insert(&condition.kind, condition.clone());
            }
            Some(first) if condition.status == ConditionStatus::True => {
                first.observed_generation = first.observed_generation.max(condition.observed_generation);
            }
            Some(first) if first.status == ConditionStatus::True => *first = condition.clone(),
            Some(first) => first.message = format!("{}; {}", first.message, condition.message),
        }
    }
    let mut all: Vec<Condition> = by_type.into_values().collect();
    all.iter_mut().for_each(bound);
    all
}

/// Makes a message as short as the schema wants it.
pub(super) fn bound(condition: &mut Condition) {
    let end = (0..=MESSAGE_BYTES.min(condition.message.len()))
        .rev()
        .find(|end| condition.message.is_char_boundary(*end));
    condition.message.truncate(end.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh_api::condition::Condition;
    use proptest::prelude::*;

    use super::{OURS, due};
    use crate::objects::{Conditions, ObjectName, ObjectRef, Observed};

    fn object() -> ObjectRef {
        ObjectRef::mesh("AccessPolicy", ObjectName::new("shop", "p"))
    }

    fn wanted(conditions: &[Condition]) -> Conditions {
        Conditions::from([(object(), conditions.to_vec())])
    }

    fn first(conditions: &[Condition], there: &Observed, now: &str) -> Option<Observed> {
        let there = BTreeMap::from([(object(), there.clone())]);
        due(&wanted(conditions), &there, now).pop().map(|(_, status)| status)
    }

    #[test]
    fn what_is_said_already_is_not_written() {
        let conditions = [Condition::holds("Accepted", "Accepted", "m").at(2)];
        let written = first(&conditions, &Observed::default(), "t1").unwrap();
        assert_eq!(written.0[0].last_transition_time, "t1");
        assert_eq!(first(&conditions, &written, "t2"), None);
    }

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let there = first(&[Condition::holds("Programmed", "Programmed", "1/2")], &Observed::default(), "t1");
        let there = there.unwrap();
        let same = first(&[Condition::holds("Programmed", "Programmed", "2/2").at(3)], &there, "t2").unwrap();
        assert_eq!(
            (same.0[0].last_transition_time.as_str(), same.0[0].condition.observed_generation),
            ("t1", 3)
        );
        let other = first(&[Condition::failed("Programmed", "Pending", "0/2")], &there, "t2").unwrap();
        assert_eq!(other.0[0].last_transition_time, "t2");
    }

    #[test]
    fn what_is_ours_and_no_longer_true_goes_and_what_is_not_ours_stays() {
        let both =
            [Condition::holds("Accepted", "Accepted", "m"), Condition::failed("Conflicted", "Same", "m")];
        let mut there = first(&both, &Observed::default(), "t1").unwrap();
        let written = first(&both[..1], &there, "t2").unwrap();
        assert_eq!(written.0.len(), 1, "server-side apply takes away what is no longer applied");
        there.0.retain(|condition| condition.condition.kind == "Accepted");
        let mut foreign = there.0[0].clone();
        foreign.condition.kind = "SomebodyElses".to_owned();
        there.0.push(foreign);
        assert_eq!(first(&both[..1], &there, "t2"), None);
    }

    #[test]
    fn objects_that_are_not_at_the_api_server_are_not_written() {
        let wanted = wanted(&[Condition::holds("Accepted", "Accepted", "m")]);
        assert!(due(&wanted, &BTreeMap::new(), "t").is_empty());
    }

    #[test]
    fn of_two_conditions_of_a_type_the_one_that_fails_is_told() {
        let two = [Condition::holds("Accepted", "A", "good"), Condition::failed("Accepted", "B", "bad")];
        let written = first(&two, &Observed::default(), "t").unwrap();
        assert_eq!((written.0.len(), written.0[0].condition.message.as_str()), (1, "bad"));
        let long = [Condition::failed("Accepted", "B", "ä".repeat(40_000))];
        assert!(first(&long, &Observed::default(), "t").unwrap().0[0].condition.message.len() <= 32_768);
    }

    fn condition() -> impl Strategy<Value = Condition> {
        (0..OURS.len(), any::<bool>(), 0..3_i64).prop_map(|(kind, holds, generation)| {
            let message = format!("message {generation}");
            let condition = if holds {
                Condition::holds(OURS[kind], "Reason", message)
            } else {
                Condition::failed(OURS[kind], "Reason", message)
            };
            condition.at(generation)
        })
    }

    proptest! {
        /// What was written once is never written again, whatever was there before.
        #[test]
        fn one_write_is_enough(
            before in prop::collection::vec(condition(), 0..6),
            after in prop::collection::vec(condition(), 0..6),
        ) {
            let there = first(&before, &Observed::default(), "t1").unwrap_or_default();
            if let Some(written) = first(&after, &there, "t2") {
                prop_assert_eq!(first(&after, &written, "t3"), None);
            }
        }
    }
}
