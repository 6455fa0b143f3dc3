//! A bound on the lines of refusals and failures that one pod causes, so that whoever hammers it
//! through the tunnel fills neither the log nor memory: the same bound as the kernel's on events of
//! denials. Metrics count on.

use std::collections::HashMap;

use mesh_ebpf::abi::capacity::EVENTS_PER_POD_SECOND;

/// The lines of each pod within one second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    second: u64,
    lines: HashMap<u64, u64>,
}

impl Pace {
    /// Whether the pod, by the hash of its UID, has not yet caused as many lines as it may in the
    /// second of `unix_nanoseconds`.
    pub(super) fn admits(&mut self, pod: u64, unix_nanoseconds: u64) -> bool {
        let second = unix_nanoseconds / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.lines.clear();
        }
        let lines = self.lines.entry(pod).or_default();
        *lines += 1;
        *lines <= u64::from(EVENTS_PER_POD_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_PER_POD_SECOND, Pace};

    #[test]
    fn a_pod_has_its_lines_anew_each_second_and_takes_none_of_others() {
        let mut pace = Pace::default();
        let mut admitted = |pod, at| (0..100_000).filter(|_| pace.admits(pod, at)).count() as u64;
        let most = u64::from(EVENTS_PER_POD_SECOND);
        assert_eq!(admitted(1, 5_000_000_000), most);
        assert_eq!(admitted(1, 5_999_999_999), 0);
        assert_eq!(admitted(2, 5_999_999_999), most);
        assert_eq!(admitted(1, 6_000_000_000), most);
    }
}
