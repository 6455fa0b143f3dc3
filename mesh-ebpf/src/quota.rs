//! How many connections a pod may hold, so that no pod leaves another without (SEMANTICS 5.5).

use crate::abi::capacity;

/// Whether a pod that holds `own` of the node's `all` flow entries may open one more.
#[inline(always)]
#[must_use]
pub const fn may_open(own: u64, all: u64) -> bool {
    own < capacity::FLOWS_PER_POD && (all < capacity::FLOWS_COMMON || own < capacity::FLOWS_FEW)
}

#[cfg(test)]
mod tests {
    use super::may_open;
    use crate::abi::capacity;
    use std::vec::Vec;

    #[test]
    fn pods_that_take_all_they_can_leave_room_for_those_that_hold_few() {
        for greedy in [1usize, 2, 3, 50] {
            let mut held: Vec<u64> = std::iter::repeat_n(0, greedy).collect();
            let mut all = 0;
            while let Some(pod) = held.iter().position(|&own| may_open(own, all)) {
                held[pod] += 1;
                all += 1;
            }
            assert!(held.iter().all(|&own| own <= capacity::FLOWS_PER_POD));
            assert!(all + 64 * capacity::FLOWS_FEW <= u64::from(capacity::FLOWS), "{greedy} take {all}");
            assert!((0..capacity::FLOWS_FEW).all(|own| may_open(own, all + own)), "{greedy}");
        }
    }
}
