//! The checks on packets that leave a pod, made on the host side of its interface.

use crate::abi::{Class, Pod};
use crate::address::Address;

/// Whether a packet with this source address may come out of the pod (SEMANTICS 2.2).
///
/// `claimed` says that discovery knows the address as some pod's: an interface whose pod is not
/// known may not use those.
#[inline(always)]
#[must_use]
pub fn source_is_valid(pod: &Pod, source: &Address, claimed: bool) -> bool {
    if pod.owns(source) || source.is_link_local_v6() {
        return true;
    }
    match pod.class() {
        // IPv6 duplicate address detection sends from `::`.
        Class::Wired | Class::Pending | Class::Plain => !source.is_v4() && source.is_unspecified(),
        _ => !claimed,
    }
}

/// What an unpublished SYN or datagram is towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Escape {
    /// An egress policy is in force on the pod.
    pub egress_policy: bool,
    /// The destination is an enrolled pod.
    pub enrolled: bool,
    /// The destination is a Service's frontend.
    pub service: bool,
}

/// Whether a SYN or datagram that no hooked socket published may leave a wired pod (SEMANTICS 5.7):
/// only where the hook would have had nothing to say about it.
#[inline(always)]
#[must_use]
pub const fn may_escape(escape: Escape) -> bool {
    !escape.egress_policy && !escape.enrolled && !escape.service
}

#[cfg(test)]
mod tests {
    use super::source_is_valid;
    use crate::abi::{Class, Pod};
    use crate::address::Address;
    use crate::policy::SetId;

    fn pod(class: Class) -> Pod {
        Pod {
            class: class as u32,
            slot: 1,
            group: 1,
            netns: 1,
            ingress: SetId::EMPTY,
            egress: SetId::EMPTY,
            flags: 0,
            reserved: 0,
            v4: Address::v4([10, 0, 0, 2]),
            v6: Address::UNSPECIFIED,
            uid: 1,
            wired_at: 0,
            namespace: 0,
        }
    }

    #[test]
    fn only_its_own_address_comes_out_of_a_known_pod() {
        for class in [Class::Wired, Class::Plain, Class::Pending] {
            let pod = pod(class);
            assert!(source_is_valid(&pod, &Address::v4([10, 0, 0, 2]), true));
            assert!(!source_is_valid(&pod, &Address::v4([10, 0, 0, 3]), true));
            assert!(!source_is_valid(&pod, &Address::v4([10, 0, 0, 3]), false));
            assert!(!source_is_valid(&pod, &Address::v4([0, 0, 0, 0]), false));
        }
    }

    #[test]
    fn an_unknown_pod_may_not_use_the_address_of_a_known_one() {
        let pod = pod(Class::Unknown);
        assert!(!source_is_valid(&pod, &Address::v4([10, 0, 0, 3]), true));
        assert!(source_is_valid(&pod, &Address::v4([192, 168, 0, 3]), false));
    }
}
