//! A workload, as a local pod and as a peer.

use mesh_ebpf::abi::Workload as Flags;
use mesh_ebpf::policy::SetId;

use super::{denies_other_protocols, namespace_hash};
use crate::handover::LocalPod;
use crate::relay::resource::{PodPolicy, Workload};

/// The entry of a pod of this node, under the compiled sets of its policy. `None` for a pod of
/// another node. Without a policy an enrolled pod is to be given sets that deny everything.
pub(crate) fn local_pod(
    workload: &Workload,
    policy: Option<&PodPolicy>,
    ingress: SetId,
    egress: SetId,
) -> Option<LocalPod> {
    let local = workload.local.as_ref()?;
    let enrolled = workload.enrolled;
    let denies = |direction: fn(&PodPolicy) -> bool| enrolled && policy.is_none_or(direction);
    Some(LocalPod {
        uid: workload.uid.clone(),
        name: format!("{}/{}", workload.namespace, workload.name),
        enrolled,
        host_network: workload.host_network,
        addresses: workload.addresses.clone(),
        group: workload.group,
        namespace: namespace_hash(&workload.namespace),
        ingress: if enrolled { ingress } else { SetId::EMPTY },
        egress: if enrolled { egress } else { SetId::EMPTY },
        ingress_denies_other: denies(|policy| denies_other_protocols(&policy.ingress)),
        egress_denies_other: denies(|policy| denies_other_protocols(&policy.egress)),
        require_mtls: enrolled && policy.is_some_and(|policy| policy.ingress.require_mtls),
        encrypt_always: workload.encrypt_always,
        probe_ports: local.probe_ports.clone(),
    })
}

/// What its peers need to know of it: bits of [`mesh_ebpf::abi::Workload`].
pub(crate) fn peer_flags(workload: &Workload) -> u32 {
    [
        (workload.enrolled, Flags::ENROLLED),
        (workload.local.is_some(), Flags::LOCAL),
        (workload.host_network, Flags::HOST_NETWORK),
        (workload.encrypt_always, Flags::ENCRYPT_ALWAYS),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .fold(0, |flags, (_, flag)| flags | flag)
}
