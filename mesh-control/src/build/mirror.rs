//! Static pods: what the node calls them.
//!
//! A static pod is of kubelet's own files. What the API shows is a mirror of it with a UID of its
//! own, while the pod's cgroup has the UID that kubelet gave the original: a hash, which the mirror
//! bears as an annotation.

use k8s_openapi::api::core::v1::Pod;

/// kubelet marks a mirror by it; its value is the original's UID.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Characters of a hash that kubelet makes for a UID (MD5 in hexadecimal).
const HASH: usize = 32;

/// The UID under which a node knows a pod; empty where it has none.
///
/// Anybody who may write pods may write the annotation, so it counts only on what is otherwise what
/// kubelet makes: owned by the node that it is bound to. And it can only be a hash, so no pod can be
/// made to look like another one's that is not static.
pub(super) fn uid_on_node(pod: &Pod) -> String {
    let own = || pod.metadata.uid.clone().unwrap_or_default();
    let annotations = pod.metadata.annotations.as_ref();
    let Some(original) = annotations.and_then(|annotations| annotations.get(MIRROR)) else { return own() };
    let is_hash = original.len() == HASH
        && original.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let of_node = !node.is_empty()
        && owners
            .iter()
            .any(|owner| owner.kind == "Node" && owner.name == node && owner.controller == Some(true));
    if is_hash && of_node { original.clone() } else { own() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::{
        api::core::v1::{Pod, PodSpec},
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    };

    use super::{MIRROR, uid_on_node};

    const HASH: &str = "8bf11e46c9a0c4b8d5a5a3e1f0d2c7b6";
    const OWN: &str = "0f6e52c4-3c8e-4c0c-9a52-8b4d6d4f8a11";

    fn pod(mirror: Option<&str>, owner: (&str, &str), node: &str) -> Pod {
        let owner = OwnerReference {
            kind: owner.0.to_owned(),
            name: owner.1.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        let annotations = mirror.map(|uid| BTreeMap::from([(MIRROR.to_owned(), uid.to_owned())]));
        Pod {
            metadata: ObjectMeta {
                uid: Some(OWN.to_owned()),
                annotations,
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec { node_name: Some(node.to_owned()), ..PodSpec::default() }),
            ..Pod::default()
        }
    }

    #[test]
    fn a_static_pod_has_the_uid_of_its_cgroup() {
        assert_eq!(uid_on_node(&pod(Some(HASH), ("Node", "n1"), "n1")), HASH);
        assert_eq!(uid_on_node(&pod(None, ("Node", "n1"), "n1")), OWN);
        assert_eq!(uid_on_node(&Pod::default()), "");
    }

    #[test]
    fn nobody_takes_another_pods_uid() {
        for forged in [
            pod(Some(HASH), ("ReplicaSet", "n1"), "n1"),
            pod(Some(HASH), ("Node", "n2"), "n1"),
            pod(Some(HASH), ("Node", ""), ""),
            pod(Some("1f6e52c4-3c8e-4c0c-9a52-8b4d6d4f8a12"), ("Node", "n1"), "n1"),
            pod(Some(""), ("Node", "n1"), "n1"),
        ] {
            assert_eq!(uid_on_node(&forged), OWN);
        }
    }
}
