//! What a cgroup directory is, by its name.
//!
//! The kubelet names them in two ways, by its `cgroupDriver`: `kubepods/burstable/pod<uid>`
//! (cgroupfs) and `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice`
//! (systemd, with `_` for `-` in the UID, as `-` separates levels there).

/// What a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Directory {
    /// Every cgroup below it is some pod's.
    PodsRoot,
    /// Pods of one quality-of-service class are in it.
    QosClass,
    /// The pod of this UID.
    Pod(String),
    /// Anything else.
    Other,
}

/// Tells what a directory of this name is.
pub(super) fn classify(name: &str) -> Directory {
    if let Some(slice) = name.strip_suffix(".slice") {
        let last = slice.rsplit('-').next().unwrap_or(slice);
        return match last {
            "kubepods" => Directory::PodsRoot,
            "burstable" | "besteffort" => Directory::QosClass,
            _ => last.strip_prefix("pod").map_or(Directory::Other, |uid| pod(&uid.replace('_', "-"))),
        };
    }
    match name {
        "kubepods" => Directory::PodsRoot,
        "burstable" | "besteffort" => Directory::QosClass,
        _ => name.strip_prefix("pod").map_or(Directory::Other, pod),
    }
}

/// UIDs are UUIDs, or hashes for static pods; both are of these characters.
fn pod(uid: &str) -> Directory {
    let fits = !uid.is_empty()
        && uid.len() <= 64
        && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && uid.bytes().any(|byte| byte.is_ascii_digit());
    if fits { Directory::Pod(uid.to_owned()) } else { Directory::Other }
}

#[cfg(test)]
mod tests {
    use super::{Directory, classify};
    use proptest::prelude::*;

    #[test]
    fn both_drivers_name_the_same_pod() {
        let uid = "0f6e52c4-3c8e-4c0c-9a52-8b4d6d4f8a11";
        let systemd = uid.replace('-', "_");
        for name in [
            format!("pod{uid}"),
            format!("kubepods-pod{systemd}.slice"),
            format!("kubepods-burstable-pod{systemd}.slice"),
            format!("kubelet-kubepods-besteffort-pod{systemd}.slice"),
        ] {
            assert_eq!(classify(&name), Directory::Pod(uid.to_owned()), "{name}");
        }
    }

    #[test]
    fn roots_and_classes_are_recognised() {
        for name in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice"] {
            assert_eq!(classify(name), Directory::PodsRoot, "{name}");
        }
        for name in ["burstable", "kubepods-besteffort.slice"] {
            assert_eq!(classify(name), Directory::QosClass, "{name}");
        }
        for name in ["system.slice", "podman", "pod", "user-1000.slice", "pod/../x1"] {
            assert_eq!(classify(name), Directory::Other, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_uuid_survives_either_way(uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{11}[0-9]") {
            let slice = format!("kubepods-pod{}.slice", uid.replace('-', "_"));
            prop_assert_eq!(classify(&slice), Directory::Pod(uid.clone()));
            let directory = format!("pod{uid}");
            prop_assert_eq!(classify(&directory), Directory::Pod(uid));
        }
    }
}
